"""Texts of jobs for pages: state, progress, rate, cost, parameters, results and comparisons."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.web.templating import grouped, moment, si
from backend.experiments.registry import KINDS as EXPERIMENTS
from backend.jobs.kinds.base import as_request
from backend.jobs.kinds.registry import KINDS
from backend.jobs.workers import WorkerView
from backend.read.job_views import Estimate, JobView
from backend.schemas.parameters import field_schemas, field_title

MAX_ITEMS = 60
MARKS = {
    "queued": "○",
    "running": "◐",
    "cancelling": "◌",
    "finished": "✓",
    "failed": "✕",
    "cancelled": "–",
}
OPEN = ("queued", "running", "cancelling")
_SUBJECT = ("suite", "corpus", "model", "name", "what", "file", "files", "recipe", "document")
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@dataclass(frozen=True)
class Row:
    """A job in a list, as text; `fraction` is None while it is unknown."""

    id: str
    title: str
    subject: str
    state: str
    mark: str
    status: str
    is_open: bool
    fraction: float | None
    progress: str
    rate: str
    age: str
    attempt: int
    problem: str


@dataclass(frozen=True)
class Line:
    """A parameter or result of two jobs."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether the values of the two jobs differ."""
        return self.left != self.right


@dataclass(frozen=True)
class Comparison:
    """Two jobs side by side."""

    jobs: tuple[JobView, JobView]
    titles: tuple[str, str]
    differing: list[Line]
    equal: list[Line]
    results: list[Line]


def duration(seconds: float | None) -> str:
    """Return a duration in the largest unit with a value of at least 1.5."""
    if seconds is None:
        return "–"
    for size, name in _UNITS:
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{'0f' if seconds >= 10 * size else '2g'}} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def status_text(job: JobView, workers: Sequence[WorkerView]) -> str:
    """Return a job's state, or the worker that it waits for.

    A job that requires CUDA may be running without a CUDA worker: any worker plans it.
    """
    if job.state not in {"queued", "running"}:
        return job.state
    if not workers:
        return (
            "waiting for a worker" if job.state == "queued" else "interrupted, waiting for a worker"
        )
    if job.requires == "cuda" and not any(w.device.startswith("cuda") for w in workers):
        return "waiting for a worker with CUDA"
    return job.state


def progress_text(job: JobView) -> str:
    """Return the number of completed units."""
    return f"{grouped(job.done)} of {grouped(job.total)} {job.unit}" if job.total else ""


def rate_text(job: JobView) -> str:
    """Return a job's rate, and the remaining time while it runs."""
    if job.rate is None:
        return ""
    for factor, name in ((1, "s"), (60, "min"), (3_600, "h")):
        if job.rate * factor >= 1 or name == "h":
            text = f"{job.rate * factor:.3g} {job.unit}/{name}"
            break
    return text + (f", {duration(job.seconds_left)} left" if job.seconds_left is not None else "")


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None:
        return None
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(start)).total_seconds())


def elapsed(job: JobView) -> str:
    """Return the time of a job's last attempt."""
    return duration(_seconds(job.started_at, job.finished_at))


def row(job: JobView, workers: Sequence[WorkerView]) -> Row:
    """Return a job as a row of a list."""
    return Row(
        id=job.id,
        title=KINDS[job.kind].title,
        subject=_subject(job.kind, job.parameters),
        state=job.state,
        mark=MARKS[job.state],
        status=status_text(job, workers),
        is_open=job.state in OPEN,
        fraction=job.fraction,
        progress=progress_text(job),
        rate=rate_text(job) if job.state == "running" else elapsed(job) if job.started_at else "",
        age=f"{duration(_seconds(job.created_at, None))} ago",
        attempt=job.attempt,
        problem=job.problem or "",
    )


def _subject(kind: str, params: Mapping[str, Any]) -> str:
    is_cut = any("…" in value for value in params.values() if isinstance(value, list))
    if kind in EXPERIMENTS and not is_cut:
        return str(EXPERIMENTS[kind].parse(params).label())
    values = as_request({name: params.get(name) for name in _SUBJECT}).values()
    return " · ".join([value_text(value) for value in values if value][:3])


def value_text(value: Any) -> str:
    """Return a parameter as text: checkpoints as model:step, long lists cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, dict):
        if set(value) == {"file", "sha256"}:
            return f"{value['file']} ({value['sha256'][:12]})"
        return ", ".join(f"{name}: {value_text(item)}" for name, item in value.items())
    if not isinstance(value, list):
        return str(value)
    parts = [_item_text(item) for item in value]
    return ", ".join(parts[:MAX_ITEMS]) + (", …" if len(parts) > MAX_ITEMS else "")


def _item_text(value: Any) -> str:
    return ":".join(map(str, value)) if isinstance(value, list) else value_text(value)


def param_texts(job: JobView) -> dict[str, str]:
    """Return a job's parameters as text, by the titles of its form."""
    schemas = field_schemas(KINDS[job.kind].schema)
    return {
        field_title(name, schemas.get(name, {})): value_text(value)
        for name, value in job.parameters.items()
    }


def result_texts(job: JobView) -> dict[str, str]:
    """Return a job's result as text, without the link to its page."""
    result = job.result or {}
    return {name: value_text(value) for name, value in result.items() if name != "page"}


def result_link(job: JobView) -> str | None:
    """Return the URL of a finished job's result, None for a kind without one."""
    if job.state != "finished":
        return None
    is_file = job.kind == "export" and (job.result or {}).get("file")
    return f"/api/v1/jobs/{job.id}/file" if is_file else job.page


def unit_text(unit: str) -> str:
    """Return a unit of work as text."""
    parts = json.loads(unit)
    if isinstance(parts, list) and len(parts) == 4 and parts[0] == "chunk":
        return f"chunk {parts[3]} of {parts[1]} at step {parts[2]}"
    return " ".join(map(value_text, parts)) if isinstance(parts, list) else str(parts)


def compare(left: JobView, right: JobView) -> Comparison:
    """Return two jobs side by side; a value that only one job has is a dash in the other."""
    lines = _side_by_side(_all_params(left), _all_params(right))
    return Comparison(
        jobs=(left, right),
        titles=(KINDS[left.kind].title, KINDS[right.kind].title),
        differing=[line for line in lines if line.differs],
        equal=[line for line in lines if not line.differs],
        results=_side_by_side(_all_results(left), _all_results(right)),
    )


def _side_by_side(left: Mapping[str, str], right: Mapping[str, str]) -> list[Line]:
    names = dict.fromkeys((*left, *right))
    return [Line(name, left.get(name, "–"), right.get(name, "–")) for name in names]


def _all_params(job: JobView) -> dict[str, str]:
    kind = {"Kind": KINDS[job.kind].title}
    requires = {"Worker": "with CUDA" if job.requires == "cuda" else "any"}
    return {**kind, **param_texts(job), **requires}


def _all_results(job: JobView) -> dict[str, str]:
    return {
        "State": f"{MARKS[job.state]} {job.state}",
        "Submitted": moment(job.created_at),
        "Started": moment(job.started_at),
        "Time": elapsed(job),
        "Completed": progress_text(job) or "–",
        "Rate": rate_text(job) or "–",
        "Attempts": str(job.attempt),
        "Problem": job.problem or "–",
        **result_texts(job),
    }


def estimate_parts(estimate: Estimate) -> list[str]:
    """Return the estimated units, work and time of a job as text."""
    parts = []
    if estimate.units is not None:
        parts.append(f"{grouped(estimate.units)} {estimate.unit}")
    if estimate.work_unit != "units":
        parts.append(f"{si(estimate.work)}{'FLOP' if estimate.work_unit == 'FLOP' else 'B'}")
    if estimate.seconds is None:
        parts.append("no job of this kind has finished here yet, so its time is unknown")
    else:
        n_past = estimate.past_jobs
        jobs = "the last finished job" if n_past == 1 else f"{n_past} past jobs"
        parts.append(f"{duration(estimate.seconds)} of one worker at the rate of {jobs}")
    return parts
