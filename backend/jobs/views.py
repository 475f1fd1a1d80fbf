"""Jobs as they are shown: state, progress, pace."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from backend.jobs.kinds import shown_parameters
from backend.models import Job
from backend.models.base import utc

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
Requires = Literal["any", "cuda"]


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


def stamp(time: datetime | None) -> str | None:
    """Return a time as text, UTC."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _fraction(row: Job) -> float | None:
    """Return which share of a job is done, the unit in progress included."""
    if row.state == "finished":
        return 1.0
    if not row.total:
        return None
    share = min(row.part / row.parts, 1.0) if row.part and row.parts else 0.0
    # One unit at a time tells of itself; with several at work its share is small.
    return min(row.done + share, row.total) / row.total


def _pace(row: Job) -> tuple[float, float]:
    """Return (seconds, units) of this attempt so far."""
    if row.started_at is None:
        return 0.0, 0.0
    spent = (utc(row.finished_at or row.updated_at) - utc(row.started_at)).total_seconds()
    fraction = _fraction(row) or 0.0
    return spent, fraction * (row.total or 0) - row.done_before


def _rate(row: Job) -> float | None:
    seconds, units = _pace(row)
    return round(units / seconds, 4) if seconds > 0 and units > 0 else None


def _seconds_left(row: Job) -> float | None:
    rate = _rate(row)
    if row.state != "running" or rate is None or not row.total:
        return None
    return round((row.total - (_fraction(row) or 0.0) * row.total) / rate, 1)


def view_of(row: Job, *, whole: bool = True) -> JobView:
    """Return a job as it is shown; with long parameters cut unless `whole`."""
    fraction = _fraction(row)
    return JobView(
        id=row.id,
        kind=row.kind,
        state=cast(State, row.state),
        parameters=dict(row.parameters) if whole else shown_parameters(row.parameters),
        done=row.done,
        total=row.total,
        unit=row.unit,
        attempt=row.attempt,
        requires=cast(Requires, row.requires),
        activity=row.activity,
        part=row.part,
        parts=row.parts,
        fraction=fraction,
        rate=_rate(row),
        seconds_left=_seconds_left(row),
        result=row.result,
        problem=row.problem,
        remedy=row.remedy,
        page=(row.result or {}).get("page"),
        created_at=cast(str, stamp(row.created_at)),
        started_at=stamp(row.started_at),
        updated_at=cast(str, stamp(row.updated_at)),
        finished_at=stamp(row.finished_at),
    )
