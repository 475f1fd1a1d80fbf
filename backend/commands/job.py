"""`quanta job`: submit, follow, cancel and resume jobs."""

import json
import time
from dataclasses import asdict
from typing import Annotated, Any, cast, get_args

import typer

from backend.commands.common import Json, bars, open_default_store, print_result
from backend.errors import InvalidInputError, QuantaError
from backend.read.job_views import OPEN_STATES, JobView, Requires, State
from backend.store.database import Store

POLL_SECONDS = 0.5

job_cli = typer.Typer(no_args_is_help=True, help="Submit and follow jobs.")
JobId = Annotated[str, typer.Argument(help="Id of the job.")]
Params = Annotated[
    list[str] | None,
    typer.Argument(help="Parameters as name=value; a value may be JSON, such as [10,20]."),
]
Key = Annotated[str | None, typer.Option(help="A key that returns the same job on a retry.")]
Wait = Annotated[bool, typer.Option(help="Wait for the end of the job.")]
Device = Annotated[str, typer.Option(help="Worker for the job: any, or cuda.")]


def parse_params(items: list[str]) -> dict[str, Any]:
    """Parse name=value pairs; values that are not JSON are text."""
    params: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise InvalidInputError(f"invalid parameter {item!r}", "Write name=value", "parameters")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def _line(view: JobView) -> str:
    count = f", {view.done} of {view.total} {view.unit}" if view.total else ""
    error = f": {view.problem}. {view.remedy}" if view.problem else ""
    page = f", see {view.page}" if view.page and view.state == "finished" else ""
    return f"{view.id} {view.kind} {view.state}{count}{error}{page}"


def _follow(store: Store, job_id: str, as_json: bool) -> JobView:
    """Show a job's progress until it has ended."""
    from backend.jobs import job_table

    view = job_table.get_job(store, job_id)
    while view.total is None and view.state in OPEN_STATES:
        time.sleep(POLL_SECONDS)
        view = job_table.get_job(store, job_id)
    total = view.total or 0
    with bars(as_json).task(view.kind, total=total, unit=view.unit, done=view.done) as bar:
        while view.state in OPEN_STATES:
            time.sleep(POLL_SECONDS)
            done, view = view.done, job_table.get_job(store, job_id)
            bar.advance(max(0, view.done - done))
    return view


def _report(store: Store, view: JobView, wait: bool, as_json: bool) -> None:
    """Print a job; exit with an error if it failed."""
    if wait:
        view = _follow(store, view.id, as_json)
    print_result(as_json, _line(view), **asdict(view))
    if view.state == "failed":
        raise QuantaError(view.problem or "the job failed", view.remedy or "See its log")


@job_cli.command("submit")
def submit(
    kind: Annotated[str, typer.Argument(help="evaluate, classify, discover, …: see `job kinds`.")],
    parameters: Params = None,
    idempotency_key: Key = None,
    requires: Device = "any",
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Submit a job, or return the equal one that has not failed."""
    from backend.jobs import queue

    if requires not in get_args(Requires):
        raise InvalidInputError(f"--requires {requires}", "Choose any or cuda", "requires")
    store = open_default_store()
    params = parse_params(parameters or [])
    view = queue.submit(store, kind, params, idempotency_key, cast(Requires, requires))
    _report(store, view, wait, as_json)


@job_cli.command("estimate")
def estimate(
    kind: Annotated[str, typer.Argument(help="See `job kinds`.")],
    parameters: Params = None,
    as_json: Json = False,
) -> None:
    """Estimate the cost of a job without submitting it."""
    from backend.jobs import estimates

    cost = estimates.estimate(open_default_store(), kind, parse_params(parameters or []))
    seconds = (
        "time unknown: no job of this kind has finished here"
        if cost.seconds is None
        else f"about {cost.seconds:,.1f} s of one worker, from {cost.past_jobs} past jobs"
    )
    units = "" if cost.units is None else f"{cost.units:,} {cost.unit}, "
    equal = f"; equal to job {cost.equal.id}" if cost.equal else ""
    print_result(
        as_json, f"{units}{cost.work:.3g} {cost.work_unit}, {seconds}{equal}", **asdict(cost)
    )


@job_cli.command("kinds")
def kinds(as_json: Json = False) -> None:
    """List the kinds of jobs and their parameters."""
    from backend.jobs.kinds.registry import KINDS

    lines, schemas = [], {}
    for kind in KINDS.values():
        schema = kind.schema.model_json_schema()
        required = set(schema.get("required", ()))
        names = " ".join(n if n in required else f"[{n}]" for n in schema["properties"])
        lines.append(f"{kind.name}: {kind.summary}\n    {names}")
        schemas[kind.name] = schema
    print_result(as_json, "\n".join(lines), kinds=schemas)


@job_cli.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="queued, running, finished, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    from backend.jobs import job_table

    if state is not None and state not in get_args(State):
        raise InvalidInputError(
            f"--state {state}", f"Choose from {', '.join(get_args(State))}", "state"
        )
    jobs = job_table.list_jobs(
        open_default_store(), limit=limit, state=cast(State | None, state)
    ).jobs
    lines = [_line(view) for view in jobs] or ["no jobs"]
    print_result(as_json, "\n".join(lines), jobs=[asdict(view) for view in jobs])


@job_cli.command("show")
def show(job: JobId, wait: Wait = False, as_json: Json = False) -> None:
    """Show one job."""
    from backend.jobs import job_table

    store = open_default_store()
    _report(store, job_table.get_job(store, job), wait, as_json)


@job_cli.command("log")
def log(
    job: JobId, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """Show the last lines of a job's log."""
    from backend.jobs import job_log

    lines = job_log.read_log(open_default_store(), job, limit=limit).lines
    text = "\n".join(f"{line.at} {line.text}" for line in lines) or "no lines"
    print_result(as_json, text, lines=[asdict(line) for line in lines])


@job_cli.command("cancel")
def cancel(job: JobId, as_json: Json = False) -> None:
    """Cancel a job; committed units stay."""
    from backend.jobs import job_table

    view = job_table.cancel(open_default_store(), job)
    print_result(as_json, _line(view), **asdict(view))


@job_cli.command("resume")
def resume(job: JobId, wait: Wait = False, as_json: Json = False) -> None:
    """Queue a failed or cancelled job again; committed units are not computed again."""
    from backend.jobs import queue

    store = open_default_store()
    _report(store, queue.resume(store, job), wait, as_json)
