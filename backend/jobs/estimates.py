"""What a job will cost, before it is asked for."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import Estimate
from backend.read.jobs import view_of
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Job, JobUnit

# Finished jobs whose pace the next one is expected to have.
PAST_JOBS = 10


def _pace(session: Session, kind: str) -> tuple[float | None, int]:
    """Return (seconds of a worker per amount of work, over how many jobs)."""
    past = session.scalars(
        select(Job)
        .where(Job.kind == kind, Job.state == "finished", Job.work > 0)
        .order_by(Job.finished_at.desc())
        .limit(PAST_JOBS)
    ).all()
    if not past:
        return None, 0
    # What was found stored took no time: neither it nor its share of the work counts.
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
    for job_id, n_units, n_computed, spent in session.execute(by_job):
        seconds += spent or 0.0
        computed += work[job_id] * n_computed / n_units
        n_jobs += n_computed > 0
    return (seconds / computed, n_jobs) if computed else (None, 0)


def _was_computed() -> ColumnElement[bool]:
    return JobUnit.is_stored.is_not(True)


def estimate(store: Store, kind: str, asked: Mapping[str, Any]) -> Estimate:
    """Return what a job would cost, without asking for it.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: what cannot be asked.
    """
    with store.session() as session:
        parameters = validate_params(store, session, kind, asked)
        cost = KINDS[kind].cost(store, session, parameters)
        pace, n_past = _pace(session, kind)
        key = result_key("job", kind=kind, parameters=parameters)
        equal = session.scalars(select(Job).where(Job.claim == key)).one_or_none()
        return Estimate(
            kind=kind,
            parameters=parameters,
            units=cost.units,
            unit=KINDS[kind].unit,
            work=cost.work,
            work_unit=cost.work_unit,
            seconds=None if pace is None else round(pace * cost.work, 2),
            past_jobs=n_past,
            equal=None if equal is None else view_of(equal),
        )
