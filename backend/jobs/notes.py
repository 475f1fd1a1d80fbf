"""The log of a job: what happened to it, and what its stages say."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db import Store
from backend.errors import NotFoundError
from backend.jobs.shown import stamp
from backend.jobs.views import DoneUnit, LogLine, LogPage, UnitPage
from backend.models import Job, JobMessage, JobUnit
from backend.models.base import now

MAX_TEXT = 2_000


def write(session: Session, job_id: str, text: str) -> None:
    """Add a line to a job's log, as part of a transaction."""
    session.add(JobMessage(job_id=job_id, at=now(), text=text[:MAX_TEXT]))


def add(store: Store, job_id: str, text: str) -> None:
    """Add a line to a job's log."""
    with store.begin() as session:
        write(session, job_id, text)


def _check(session: Session, job_id: str) -> None:
    if session.get(Job, job_id) is None:
        raise NotFoundError(f"there is no job {job_id!r}", "GET /api/v1/jobs lists them")


def log(store: Store, job_id: str, *, after: int = 0, limit: int = 100) -> LogPage:
    """Return the last `limit` lines of a job's log that come after line `after`, oldest first.

    Raises:
        NotFoundError: there is no such job.
    """
    with store.session() as session:
        _check(session, job_id)
        rows = session.scalars(
            select(JobMessage)
            .where(JobMessage.job_id == job_id, JobMessage.id > after)
            .order_by(JobMessage.id.desc())
            .limit(limit)
        ).all()
    lines = tuple(LogLine(row.id, stamp(row.at) or "", row.text) for row in reversed(rows))
    return LogPage(lines, str(lines[-1].id if lines else after))


def units(store: Store, job_id: str, *, offset: int = 0, limit: int = 50) -> UnitPage:
    """Return committed units of a job, newest first.

    Raises:
        NotFoundError: there is no such job.
    """
    with store.session() as session:
        _check(session, job_id)
        rows = session.scalars(
            select(JobUnit)
            .where(JobUnit.job_id == job_id)
            .order_by(JobUnit.finished_at.desc(), JobUnit.unit)
            .offset(offset)
            .limit(limit + 1)
        ).all()
    found = tuple(
        DoneUnit(row.unit, row.worker, row.seconds, stamp(row.finished_at) or "")
        for row in rows[:limit]
    )
    return UnitPage(found, str(offset + limit) if len(rows) > limit else None)
