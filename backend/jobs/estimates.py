"""What a job will cost, before it is asked for."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.db import Store
from backend.jobs.kinds import KINDS, checked
from backend.jobs.shown import view_of
from backend.jobs.views import Estimate
from backend.keys import result_key
from backend.models import Job, JobUnit

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
    spent = session.scalar(
        select(func.sum(JobUnit.seconds)).where(JobUnit.job_id.in_([row.id for row in past]))
    )
    return float(spent or 0) / sum(row.work or 0 for row in past), len(past)


def estimate(store: Store, kind: str, asked: Mapping[str, Any]) -> Estimate:
    """Return what a job would cost, without asking for it.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: what cannot be asked.
    """
    with store.session() as session:
        parameters = checked(store, session, kind, asked)
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
