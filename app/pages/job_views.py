"""Jobs in words: state, progress, pace, cost, parameters and results, two of them side by side."""

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

MOST_SHOWN = 60
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
    """A job in a list; everything is words but `fraction`, None while that is not known."""

    id: str
    title: str
    subject: str
    state: str
    mark: str
    status: str
    is_open: bool
    fraction: float | None
    progress: str
    pace: str
    age: str
    attempt: int
    problem: str


@dataclass(frozen=True)
class Line:
    """A parameter or outcome of two jobs."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether the two jobs differ in it."""
        return self.left != self.right


@dataclass(frozen=True)
class Comparison:
    """Two jobs side by side."""

    jobs: tuple[JobView, JobView]
    titles: tuple[str, str]
    differing: list[Line]
    equal: list[Line]
    outcomes: list[Line]


def duration(seconds: float | None) -> str:
    """Return a time in the largest unit of which it has at least one and a half."""
    if seconds is None:
        return "–"
    for size, name in _UNITS:
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{'0f' if seconds >= 10 * size else '2g'}} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def status(job: JobView, workers: Sequence[WorkerView]) -> str:
    """Return a job's state in words; one that no living worker can go on with says what it needs.

    A job that requires CUDA is running once any worker has planned it.
    """
    if job.state not in {"queued", "running"}:
        return job.state
    if not workers:
        return "waits for a worker" if job.state == "queued" else "interrupted, waits for a worker"
    if job.requires == "cuda" and not any(w.device.startswith("cuda") for w in workers):
        return "waits for a worker with CUDA"
    return job.state


def progress(job: JobView) -> str:
    """Return how far a job is."""
    return f"{grouped(job.done)} of {grouped(job.total)} {job.unit}" if job.total else ""


def pace(job: JobView) -> str:
    """Return a job's rate, and what is left of it while it runs."""
    if job.rate is None:
        return ""
    for factor, name in ((1, "s"), (60, "min"), (3_600, "h")):
        if job.rate * factor >= 1 or name == "h":
            words = f"{job.rate * factor:.3g} {job.unit}/{name}"
            break
    return words + (f", {duration(job.seconds_left)} left" if job.seconds_left is not None else "")


def _seconds(begin: str | None, end: str | None) -> float | None:
    if begin is None:
        return None
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(begin)).total_seconds())


def spent(job: JobView) -> str:
    """Return how long a job's last attempt has taken so far."""
    return duration(_seconds(job.started_at, job.finished_at))


def row(job: JobView, workers: Sequence[WorkerView]) -> Row:
    """Return a job as a row of a list."""
    return Row(
        id=job.id,
        title=KINDS[job.kind].title,
        subject=_subject(job.kind, job.parameters),
        state=job.state,
        mark=MARKS[job.state],
        status=status(job, workers),
        is_open=job.state in OPEN,
        fraction=job.fraction,
        progress=progress(job),
        pace=pace(job) if job.state == "running" else spent(job) if job.started_at else "",
        age=f"{duration(_seconds(job.created_at, None))} ago",
        attempt=job.attempt,
        problem=job.problem or "",
    )


def _subject(kind: str, parameters: Mapping[str, Any]) -> str:
    is_cut = any("…" in value for value in parameters.values() if isinstance(value, list))
    if kind in EXPERIMENTS and not is_cut:
        return str(EXPERIMENTS[kind].parse(parameters).label())
    found = as_request({name: parameters.get(name) for name in _SUBJECT})
    return " · ".join([value_words(value) for value in found.values() if value][:3])


def value_words(value: Any) -> str:
    """Return a parameter as people write it; places as model:step, long lists cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, dict):
        if set(value) == {"file", "sha256"}:
            return f"{value['file']} ({value['sha256'][:12]})"
        return ", ".join(f"{name}: {value_words(one)}" for name, one in value.items())
    if not isinstance(value, list):
        return str(value)
    parts = [_item(one) for one in value]
    return ", ".join(parts[:MOST_SHOWN]) + (", …" if len(parts) > MOST_SHOWN else "")


def _item(value: Any) -> str:
    return ":".join(map(str, value)) if isinstance(value, list) else value_words(value)


def parameter_lines(job: JobView) -> dict[str, str]:
    """Return a job's parameters in words, by the titles of its form."""
    known = KINDS[job.kind].schema.model_fields
    return {
        (known[name].title or name if name in known else name): value_words(value)
        for name, value in job.parameters.items()
    }


def result_lines(job: JobView) -> dict[str, str]:
    """Return what a job made, in words; its page has a link of its own."""
    made = job.result or {}
    return {name: value_words(value) for name, value in made.items() if name != "page"}


def result_link(job: JobView) -> str | None:
    """Return where a finished job's result is, None if it has no place of its own."""
    if job.state != "finished":
        return None
    is_file = job.kind == "export" and (job.result or {}).get("file")
    return f"/api/v1/jobs/{job.id}/file" if is_file else job.page


def unit_words(unit: str) -> str:
    """Return a unit of work in words."""
    parts = json.loads(unit)
    if isinstance(parts, list) and len(parts) == 4 and parts[0] == "chunk":
        return f"chunk {parts[3]} of {parts[1]} at step {parts[2]}"
    return " ".join(map(value_words, parts)) if isinstance(parts, list) else str(parts)


def compared(left: JobView, right: JobView) -> Comparison:
    """Return two jobs side by side; what one of them does not have is a dash."""
    lines = _side_by_side(_asked(left), _asked(right))
    return Comparison(
        jobs=(left, right),
        titles=(KINDS[left.kind].title, KINDS[right.kind].title),
        differing=[line for line in lines if line.differs],
        equal=[line for line in lines if not line.differs],
        outcomes=_side_by_side(_outcome(left), _outcome(right)),
    )


def _side_by_side(left: Mapping[str, str], right: Mapping[str, str]) -> list[Line]:
    names = dict.fromkeys((*left, *right))
    return [Line(name, left.get(name, "–"), right.get(name, "–")) for name in names]


def _asked(job: JobView) -> dict[str, str]:
    kind = {"Kind": KINDS[job.kind].title}
    requires = {"Worker": "with CUDA" if job.requires == "cuda" else "any"}
    return {**kind, **parameter_lines(job), **requires}


def _outcome(job: JobView) -> dict[str, str]:
    return {
        "State": f"{MARKS[job.state]} {job.state}",
        "Asked for": moment(job.created_at),
        "Begun": moment(job.started_at),
        "Time": spent(job),
        "Done": progress(job) or "–",
        "Pace": pace(job) or "–",
        "Attempts": str(job.attempt),
        "Problem": job.problem or "–",
        **result_lines(job),
    }


def estimate_words(found: Estimate) -> list[str]:
    """Return what a job would cost: units, work, time."""
    words = []
    if found.units is not None:
        words.append(f"{grouped(found.units)} {found.unit}")
    if found.work_unit != "units":
        words.append(f"{si(found.work)}{'FLOP' if found.work_unit == 'FLOP' else 'B'}")
    if found.seconds is None:
        words.append("no job of this kind has finished here yet, so its time is not known")
    else:
        jobs = "the last finished job" if found.past_jobs == 1 else f"{found.past_jobs} past jobs"
        words.append(f"{duration(found.seconds)} of one worker at the pace of {jobs}")
    return words
