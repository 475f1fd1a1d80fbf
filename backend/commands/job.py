"""`quanta job`: ask for jobs, follow them, stop them, as the API does."""

import json
import time
from typing import Annotated, Any

import typer

from backend.commands.common import Json, bars, opened_store, result
from backend.errors import InvalidInputError, QuantaError
from backend.read.job_views import OPEN_STATES, JobView, Requires, State
from backend.store.database import Store

POLL_SECONDS = 0.5

job_cli = typer.Typer(no_args_is_help=True, help="Ask workers for jobs, and follow them.")
JobId = Annotated[str, typer.Argument(help="Id of the job.")]
Given = Annotated[
    list[str] | None,
    typer.Argument(help="Parameters: name=value; a value may be JSON, such as [10,20]."),
]
Key = Annotated[str | None, typer.Option(help="The same key gives the same job again.")]
Wait = Annotated[bool, typer.Option(help="Follow it to its end.")]
Device = Annotated[str, typer.Option(help="any, or cuda: only by a worker with a GPU.")]


def parameters_of(given: list[str]) -> dict[str, Any]:
    """Return name=value pairs; what reads as JSON is JSON, everything else is text."""
    found: dict[str, Any] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise InvalidInputError(f"{item!r} is no parameter", "Write name=value", "parameters")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _shown(view: JobView) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(view)


def _line(view: JobView) -> str:
    count = f", {view.done} of {view.total} {view.unit}" if view.total else ""
    why = f": {view.problem}. {view.remedy}" if view.problem else ""
    where = f", shown on {view.page}" if view.page and view.state == "finished" else ""
    return f"{view.id} {view.kind} {view.state}{count}{why}{where}"


def _followed(store: Store, job_id: str, as_json: bool) -> JobView:
    """Draw a job's progress until it has ended."""
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


def _told(store: Store, view: JobView, wait: bool, as_json: bool) -> None:
    if wait:
        view = _followed(store, view.id, as_json)
    result(as_json, _line(view), **_shown(view))
    if view.state == "failed":
        raise QuantaError(view.problem or "the job failed", view.remedy or "See its log")


@job_cli.command("submit")
def submit(
    kind: Annotated[str, typer.Argument(help="evaluate, classify, discover, …: see `job kinds`.")],
    parameters: Given = None,
    idempotency_key: Key = None,
    requires: Device = "any",
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Ask for a job; an equal one that has not failed is given back."""
    from typing import cast, get_args

    from backend.jobs import queue

    if requires not in get_args(Requires):
        raise InvalidInputError(f"--requires {requires}", "Choose any or cuda", "requires")
    store = opened_store()
    asked = parameters_of(parameters or [])
    view = queue.submit(store, kind, asked, idempotency_key, cast(Requires, requires))
    _told(store, view, wait, as_json)


@job_cli.command("estimate")
def estimate(
    kind: Annotated[str, typer.Argument(help="See `job kinds`.")],
    parameters: Given = None,
    as_json: Json = False,
) -> None:
    """What a job would cost; nothing is queued."""
    from dataclasses import asdict

    from backend.jobs import estimates

    found = estimates.estimate(opened_store(), kind, parameters_of(parameters or []))
    seconds = (
        "time unknown: no job of this kind has finished here"
        if found.seconds is None
        else f"about {found.seconds:,.1f} s of one worker, by {found.past_jobs} past jobs"
    )
    units = "" if found.units is None else f"{found.units:,} {found.unit}, "
    same = f"; stored already as job {found.equal.id}" if found.equal else ""
    result(as_json, f"{units}{found.work:.3g} {found.work_unit}, {seconds}{same}", **asdict(found))


@job_cli.command("kinds")
def kinds(as_json: Json = False) -> None:
    """Kinds of jobs and their parameters."""
    from backend.jobs.kinds.registry import KINDS

    lines, found = [], {}
    for kind in KINDS.values():
        schema = kind.schema.model_json_schema()
        needed = set(schema.get("required", ()))
        names = " ".join(n if n in needed else f"[{n}]" for n in schema["properties"])
        lines.append(f"{kind.name}: {kind.summary}\n    {names}")
        found[kind.name] = schema
    result(as_json, "\n".join(lines), kinds=found)


@job_cli.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="queued, running, finished, …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """Jobs, newest first."""
    from typing import cast, get_args

    from backend.jobs import job_table

    if state is not None and state not in get_args(State):
        raise InvalidInputError(
            f"--state {state}", f"Choose from {', '.join(get_args(State))}", "state"
        )
    found = job_table.list_jobs(opened_store(), limit=limit, state=cast(State | None, state)).jobs
    lines = [_line(view) for view in found] or ["no jobs"]
    result(as_json, "\n".join(lines), jobs=[_shown(view) for view in found])


@job_cli.command("show")
def show(job: JobId, wait: Wait = False, as_json: Json = False) -> None:
    """One job."""
    from backend.jobs import job_table

    store = opened_store()
    _told(store, job_table.get_job(store, job), wait, as_json)


@job_cli.command("log")
def log(
    job: JobId, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, as_json: Json = False
) -> None:
    """The last lines of a job's log."""
    from dataclasses import asdict

    from backend.jobs import job_log

    lines = job_log.read_log(opened_store(), job, limit=limit).lines
    text = "\n".join(f"{line.at} {line.text}" for line in lines) or "no lines"
    result(as_json, text, lines=[asdict(line) for line in lines])


@job_cli.command("cancel")
def cancel(job: JobId, as_json: Json = False) -> None:
    """End a job; what is committed stays."""
    from backend.jobs import job_table

    view = job_table.cancel(opened_store(), job)
    result(as_json, _line(view), **_shown(view))


@job_cli.command("resume")
def resume(job: JobId, wait: Wait = False, as_json: Json = False) -> None:
    """Queue a failed or cancelled job again; what is committed is not computed again."""
    from backend.jobs import queue

    store = opened_store()
    _told(store, queue.resume(store, job), wait, as_json)
