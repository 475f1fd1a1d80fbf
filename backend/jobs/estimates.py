"""Estimates of the cost of a job."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import Estimate
from backend.read.jobs import job_view
from backend.store.database import Store
from backend.store.tables import Job, JobUnit

# Number of finished jobs that give the rate.
PAST_JOBS = 10


def _seconds_per_work(session: Session, kind: str) -> tuple[float | None, int]:
    """Return (seconds of one worker per amount of work, number of past jobs)."""
    past = session.scalars(
        select(Job)
        .where(Job.kind == kind, Job.state == "finished", Job.work > 0)
        .order_by(Job.finished_at.desc())
        .limit(PAST_JOBS)
    ).all()
    if not past:
        return None, 0
    # Units that were stored before took no time: neither they nor their work count.
    by_job = (
        select(
            JobUnit.job_id,
            func.count(),
            func.count().filter(_was_computed()),
            func.sum(JobUnit.seconds).filter(_was_computed()),
        )
        .where(JobUnit.job_id.in_([row.id for row in past]))
        .group_by(JobUnit.job_id)
    )
    work = {row.id: row.work or 0.0 for row in past}
    seconds = computed = 0.0
    n_jobs = 0
    for job_id, n_units, n_computed, job_seconds in session.execute(by_job):
        seconds += job_seconds or 0.0
        computed += work[job_id] * n_computed / n_units
        n_jobs += n_computed > 0
    return (seconds / computed, n_jobs) if computed else (None, 0)


def _was_computed() -> ColumnElement[bool]:
    return JobUnit.is_stored.is_not(True)


def estimate(store: Store, kind: str, params: Mapping[str, Any]) -> Estimate:
    """Return the estimated cost of a job without submitting it.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: the parameters are not valid.
    """
    with store.session() as session:
        validated = validate_params(store, session, kind, params)
        cost = KINDS[kind].cost(store, session, validated)
        rate, n_past = _seconds_per_work(session, kind)
        key = KINDS[kind].key(validated)
        equal = session.scalars(select(Job).where(Job.claim == key)).one_or_none()
        return Estimate(
            kind=kind,
            parameters=validated,
            units=cost.units,
            unit=KINDS[kind].unit,
            work=cost.work,
            work_unit=cost.work_unit,
            seconds=None if rate is None else round(rate * cost.work, 2),
            past_jobs=n_past,
            equal=None if equal is None else job_view(equal),
        )
