"""Jobs as they are shown: state, progress, pace, log; plain data, so that clients share it."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
Requires = Literal["any", "cuda"]
OPEN_STATES: tuple[State, ...] = ("queued", "running", "cancelling")


@dataclass(frozen=True)
class JobView:
    """A job as shown; `done` of `total` units are committed.

    `activity` is what is done just now, `part` of `parts` how far that is. `fraction` is of the
    whole job, `rate` in units a second of this attempt, `seconds_left` what remains at that pace;
    None while nothing is known. `result` names what it made (finished), `problem` and `remedy` say
    why there is none (failed). `page` is the page of the application that shows the result. A
    cancelled or failed job can be resumed: `attempt` counts how often it was begun. `requires` says
    which workers may do it.
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
    """The last lines of a job's log, oldest first; `cursor` begins a later look."""

    lines: tuple[LogLine, ...]
    next_cursor: str


@dataclass(frozen=True)
class DoneUnit:
    """A unit of a job that is committed: which, by which worker, in how many seconds."""

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
    """What a job will cost.

    Attributes:
        kind: of the job.
        parameters: as they would be checked and stored.
        units: units of work, if that is known before it begins.
        unit: what they are.
        work: amount that the time is proportional to, in `work_unit`.
        work_unit: FLOP, bytes or units.
        seconds: of one worker, at the pace of finished jobs of this kind here; None if there are
            none.
        past_jobs: how many those are.
        equal: the open or finished job of the same content, which asking gives back.
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
