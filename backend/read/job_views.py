"""Views of jobs: state, progress, rate and log; plain data, shared with the client."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
Requires = Literal["any", "cuda"]
OPEN_STATES: tuple[State, ...] = ("queued", "running", "cancelling")


@dataclass(frozen=True)
class JobView:
    """A job; `done` of `total` units are committed.

    `activity` is the current activity, of which `part` of `parts` is completed. `fraction` is the
    completed share of the job, `rate` the units per second of this attempt, `seconds_left` the
    remaining time at this rate; None while unknown. `result` names the results of a finished job,
    `problem` and `remedy` explain a failed one. `page` is the page that shows the result. A
    cancelled or failed job can be resumed, which increments `attempt`. `requires` limits the
    workers that may execute the job.
    """

    id: str
    kind: str
    state: State
    parameters: dict[str, Any]
    done: int
    total: int | None
    unit: str
    attempt: int
    requires: Requires
    activity: str | None
    part: int | None
    parts: int | None
    fraction: float | None
    rate: float | None
    seconds_left: float | None
    result: dict[str, Any] | None
    problem: str | None
    remedy: str | None
    page: str | None
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log; `id` grows with time."""

    id: int
    at: str
    text: str


@dataclass(frozen=True)
class LogPage:
    """The last lines of a job's log, oldest first; `next_cursor` returns only later lines."""

    lines: tuple[LogLine, ...]
    next_cursor: str


@dataclass(frozen=True)
class DoneUnit:
    """A committed unit of a job, its worker and its time in seconds."""

    unit: str
    worker: str
    seconds: float
    finished_at: str


@dataclass(frozen=True)
class UnitPage:
    """Committed units of a job, newest first."""

    units: tuple[DoneUnit, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a job.

    `units` is None while unknown. `work` is proportional to the time, in `work_unit` (FLOP, bytes
    or units). `seconds` is the time of one worker at the rate of the `past_jobs` finished jobs of
    this kind, None without any. `equal` is the open or finished equal job, which would be returned.
    """

    kind: str
    parameters: dict[str, Any]
    units: int | None
    unit: str
    work: float
    work_unit: str
    seconds: float | None
    past_jobs: int
    equal: JobView | None
