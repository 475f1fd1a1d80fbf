"""The log of a job: changes of its state and messages of its stages."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.read.job_views import DoneUnit, LogLine, LogPage, UnitPage
from backend.read.jobs import to_iso
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


def unknown_job(job_id: str) -> NotFoundError:
    """Return the error for an unknown id."""
    return NotFoundError(f"there is no job {job_id!r}", "GET /api/v1/jobs lists them")


def _check_job(session: Session, job_id: str) -> None:
    if session.get(Job, job_id) is None:
        raise unknown_job(job_id)


def read_log(store: Store, job_id: str, *, after: int = 0, limit: int = 100) -> LogPage:
    """Return the last `limit` lines of a job's log after line `after`, oldest first.

    Raises:
        NotFoundError: no job has this id.
    """
    with store.session() as session:
        _check_job(session, job_id)
        rows = session.scalars(
            select(JobMessage)
            .where(JobMessage.job_id == job_id, JobMessage.id > after)
            .order_by(JobMessage.id.desc())
            .limit(limit)
        ).all()
    lines = tuple(LogLine(row.id, to_iso(row.at) or "", row.text) for row in reversed(rows))
    return LogPage(lines, str(lines[-1].id if lines else after))


def list_units(
    store: Store, job_id: str, *, remaining: int | None = None, limit: int = 50
) -> UnitPage:
    """Return a page of a job's committed units, newest first.

    Args:
        store: store of the job.
        job_id: the job.
        remaining: number of units from this page on (`backend.read.paging.tail_page`).
        limit: maximum number of units.

    Raises:
        NotFoundError: no job has this id.
    """
    with store.session() as session:
        _check_job(session, job_id)
        of_job = JobUnit.job_id == job_id
        n_rows = session.scalar(select(func.count()).select_from(JobUnit).where(of_job)) or 0
        offset, next_cursor = tail_page(n_rows, remaining, limit)
        rows = session.scalars(
            select(JobUnit)
            .where(of_job)
            .order_by(JobUnit.finished_at.desc(), JobUnit.unit)
            .offset(offset)
            .limit(limit)
        ).all()
    units = (
        DoneUnit(row.unit, row.worker, row.seconds, to_iso(row.finished_at) or "") for row in rows
    )
    return UnitPage(tuple(units), next_cursor)
