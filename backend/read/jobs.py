"""Views of job rows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from backend.read.job_views import JobView, Requires, State
from backend.store.tables import Job
from backend.store.tables.base import utc


def to_iso(time: datetime | None) -> str | None:
    """Return a time in ISO 8601, UTC."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def cut_params(params: Mapping[str, Any], max_length: int = 200) -> dict[str, Any]:
    """Return parameters with long texts and lists cut."""

    def cut(value: Any) -> Any:
        if isinstance(value, str) and len(value) > max_length:
            return value[:max_length] + "…"
        if isinstance(value, list) and len(value) > max_length:
            return [*value[:max_length], "…"]
        return value

    return {name: cut(value) for name, value in params.items()}


def _fraction(row: Job) -> float | None:
    """Return the completed share of a job, with the current unit."""
    if row.state == "finished":
        return 1.0
    if not row.total:
        return None
    share = min(row.part / row.parts, 1.0) if row.part and row.parts else 0.0
    # Only one of the current units reports progress; with several, its share is small.
    return min(row.done + share, row.total) / row.total


def _elapsed(row: Job) -> tuple[float, float]:
    """Return (seconds, completed units) of the current attempt."""
    if row.started_at is None:
        return 0.0, 0.0
    seconds = (utc(row.finished_at or row.updated_at) - utc(row.started_at)).total_seconds()
    fraction = _fraction(row) or 0.0
    return seconds, fraction * (row.total or 0) - row.done_before


def _rate(row: Job) -> float | None:
    seconds, units = _elapsed(row)
    return round(units / seconds, 4) if seconds > 0 and units > 0 else None


def _seconds_left(row: Job) -> float | None:
    rate = _rate(row)
    if row.state != "running" or not rate or not row.total:
        return None  # a rate of 0.0 is one that rounds to it
    return round((row.total - (_fraction(row) or 0.0) * row.total) / rate, 1)


def job_view(row: Job, *, is_cut: bool = False) -> JobView:
    """Return the view of a job, with long parameters cut if `is_cut`."""
    return JobView(
        id=row.id,
        kind=row.kind,
        state=cast(State, row.state),
        parameters=cut_params(row.parameters) if is_cut else dict(row.parameters),
        done=row.done,
        total=row.total,
        unit=row.unit,
        attempt=row.attempt,
        requires=cast(Requires, row.requires),
        activity=row.activity,
        part=row.part,
        parts=row.parts,
        fraction=_fraction(row),
        rate=_rate(row),
        seconds_left=_seconds_left(row),
        result=row.result,
        problem=row.problem,
        remedy=row.remedy,
        page=(row.result or {}).get("page"),
        created_at=cast(str, to_iso(row.created_at)),
        started_at=to_iso(row.started_at),
        updated_at=cast(str, to_iso(row.updated_at)),
        finished_at=to_iso(row.finished_at),
    )
