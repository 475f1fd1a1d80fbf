"""The log of a job: what happened to it, and what its stages say."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.read.job_views import DoneUnit, LogLine, LogPage, UnitPage
from backend.read.jobs import stamp
from backend.read.paging import tail_page
from backend.store.database import Store
from backend.store.tables import Job, JobMessage, JobUnit
from backend.store.tables.base import now

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


def read_log(store: Store, job_id: str, *, after: int = 0, limit: int = 100) -> LogPage:
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


def list_units(store: Store, job_id: str, *, left: int | None = None, limit: int = 50) -> UnitPage:
    """Return committed units of a job, newest first; the last `left` of them, if given.

    Raises:
        NotFoundError: there is no such job.
    """
    with store.session() as session:
        _check(session, job_id)
        of_job = JobUnit.job_id == job_id
        n_rows = session.scalar(select(func.count()).select_from(JobUnit).where(of_job)) or 0
        offset, following = tail_page(n_rows, left, limit)
        rows = session.scalars(
            select(JobUnit)
            .where(of_job)
            .order_by(JobUnit.finished_at.desc(), JobUnit.unit)
            .offset(offset)
            .limit(limit)
        ).all()
    found = tuple(
        DoneUnit(row.unit, row.worker, row.seconds, stamp(row.finished_at) or "") for row in rows
    )
    return UnitPage(found, following)
