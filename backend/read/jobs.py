"""Rows of jobs as views."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from backend.read.job_views import JobView, Requires, State
from backend.store.tables import Job
from backend.store.tables.base import utc


def stamp(time: datetime | None) -> str | None:
    """Return a time as text, UTC."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_parameters(parameters: Mapping[str, Any], most: int = 200) -> dict[str, Any]:
    """Return parameters with long text cut, for lists."""

    def cut(value: Any) -> Any:
        if isinstance(value, str) and len(value) > most:
            return value[:most] + "…"
        if isinstance(value, list) and len(value) > most:
            return [*value[:most], "…"]
        return value

    return {name: cut(value) for name, value in parameters.items()}


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
