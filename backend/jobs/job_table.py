"""The job table: states of jobs, and the progress that workers write."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.errors import ConflictError, NotFoundError, QuantaError
from backend.jobs import job_log
from backend.read.job_views import OPEN_STATES, JobPage, JobView, State
from backend.read.jobs import job_view
from backend.read.paging import tail_page
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.tables import Claim, Job, JobUnit, Worker
from backend.store.tables.base import now

# Workers in a row that may start with a job and end without returning; then the job is the likely
# cause. Above what happens by chance on machines that come and go.
MAX_CRASHES = 25


def get_job(store: Store, job_id: str) -> JobView:
    """Return one job.

    Raises:
        NotFoundError: no job has this id.
    """
    with store.session() as session:
        row = session.get(Job, job_id)
        if row is None:
            raise job_log.unknown_job(job_id)
        return job_view(row)


def list_jobs(
    store: Store,
    *,
    remaining: int | None = None,
    limit: int = 50,
    state: State | None = None,
    kind: str | None = None,
) -> JobPage:
    """Return a page of jobs, newest first, with long parameters cut.

    Args:
        store: store of the jobs.
        remaining: number of jobs from this page on (`backend.read.paging.tail_page`).
        limit: maximum number of jobs.
        state: only jobs in this state.
        kind: only jobs of this kind.
    """
    filters: list[ColumnElement[bool]] = []
    if state is not None:
        filters.append(Job.state == state)
    if kind is not None:
        filters.append(Job.kind == kind)
    with store.session() as session:
        n_rows = session.scalar(select(func.count()).select_from(Job).where(*filters)) or 0
        offset, next_cursor = tail_page(n_rows, remaining, limit)
        query = select(Job).where(*filters).order_by(Job.created_at.desc(), Job.id)
        rows = session.scalars(query.offset(offset).limit(limit)).all()
    return JobPage(tuple(job_view(row, is_cut=True) for row in rows), next_cursor)


def exported_file(store: Store, job_id: str) -> Path:
    """Return the path of the file of a finished job.

    Raises:
        NotFoundError: no job has this id, or the job has no file (any more).
    """
    view = get_job(store, job_id)
    path = files.exports_folder(store) / str((view.result or {}).get("file"))
    if view.state != "finished" or not path.is_file():
        raise NotFoundError(
            f"job {job_id} has no file", "A finished export has one; submit it again if it is gone"
        )
    return path


def list_open_jobs(store: Store) -> tuple[JobView, ...]:
    """Return jobs that have not ended, oldest first."""
    with store.session() as session:
        rows = session.scalars(
            select(Job).where(Job.state.in_(OPEN_STATES)).order_by(Job.created_at)
        )
        return tuple(job_view(row) for row in rows)


def _lock_row(session: Session, job_id: str) -> Job:
    row = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise job_log.unknown_job(job_id)
    return row


def cancel(store: Store, job_id: str) -> JobView:
    """Cancel a job; committed units stay, and the job can be resumed.

    A queued job is cancelled at once, a running one is `cancelling` until its workers have stopped.
    A second call, or one after the end of the job, changes nothing.

    Raises:
        NotFoundError: no job has this id.
    """
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state == "queued":
            _end(session, row, "cancelled")
        elif row.state == "running":
            row.state, row.updated_at = "cancelling", now()
            job_log.write(session, job_id, "cancelling")
            _finish_cancellation(session, row)
        return job_view(row)


def _finish_cancellation(session: Session, row: Job) -> None:
    """Mark a `cancelling` job as cancelled once no live worker computes for it."""
    busy = select(Worker.id).where(Worker.state == "live", Worker.job_id == row.id)
    if row.state == "cancelling" and session.scalars(busy).first() is None:
        _end(session, row, "cancelled")


def resume(store: Store, job_id: str) -> JobView:
    """Queue a failed or cancelled job again; committed units are not computed again.

    Raises:
        NotFoundError: no job has this id.
        ConflictError: the job is open or finished, or an equal job is.
    """
    try:
        return _resume(store, job_id)
    except IntegrityError as error:
        raise ConflictError(
            f"a job equal to {job_id} was submitted at the same time", "See the newest job"
        ) from error


def _resume(store: Store, job_id: str) -> JobView:
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state not in {"failed", "cancelled"}:
            raise ConflictError(
                f"job {job_id} is {row.state}", "Only a failed or cancelled job can be resumed"
            )
        equal = session.scalars(select(Job.id).where(Job.claim == row.key)).one_or_none()
        if equal is not None:
            raise ConflictError(
                f"the equal job {equal} was submitted after {job_id} had ended", f"See job {equal}"
            )
        row.state, row.claim, row.attempt = "queued", row.key, row.attempt + 1
        row.crash_count = 0
        row.problem = row.remedy = row.finished_at = row.started_at = row.activity = None
        row.updated_at = now()
        job_log.write(session, job_id, f"queued again: attempt {row.attempt}")
        return job_view(row)


def start_attempt(store: Store, job_id: str, attempt: int, worker_id: str) -> bool:
    """Mark an attempt of a job as running; return False if it must not run."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.attempt != attempt or not _count_start(session, row):
            return False
        if row.state == "queued":
            row.state, row.started_at, row.done_before = "running", now(), row.done
            job_log.write(session, job_id, f"started by {worker_id}")
        row.updated_at = now()
        return row.state == "running"


def set_units(store: Store, job_id: str, units: Collection[str]) -> None:
    """Set the units of a job's attempt; other committed units do not count any more."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        committed = session.scalars(select(JobUnit.unit).where(JobUnit.job_id == job_id))
        row.done = row.done_before = len(set(committed) & set(units))
        row.total, row.updated_at = len(units), now()
        row.crash_count = 0


@dataclass(frozen=True)
class CompletedUnit:
    """A committed unit; `is_stored` if its result was stored before, None if unknown."""

    unit: str
    worker: str
    seconds: float
    is_stored: bool | None


class RepeatedCrashError(QuantaError):
    """Too many workers in a row crashed on a job."""

    def __init__(self, n_crashes: int) -> None:
        super().__init__(
            f"{n_crashes} workers in a row ended while they computed this job",
            "See the workers' messages (out of memory?), then resume it",
        )


def _count_start(session: Session, row: Job) -> bool:
    """Count a worker that starts with a job; fail the job if too many did not return."""
    if row.crash_count >= MAX_CRASHES:
        _fail(session, row, RepeatedCrashError(row.crash_count))
        return False
    row.crash_count += 1
    return True


def start_unit(store: Store, job_id: str, attempt: int, worker_id: str) -> bool:
    """Assign a job to a worker for one unit; return False if the attempt must not continue."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state != "running" or row.attempt != attempt:
            return False
        if not _count_start(session, row):
            return False
        session.get_one(Worker, worker_id).job_id = job_id
        return True


def release_unit(store: Store, job_id: str, worker_id: str) -> None:
    """Mark a worker as idle after a unit."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        row.crash_count = 0  # the worker returned
        session.get_one(Worker, worker_id).job_id = None
        # Its child process may have been killed while it held a claim.
        session.execute(delete(Claim).where(Claim.worker == worker_id))
        session.flush()
        _finish_cancellation(session, row)


def finish_cancellations(store: Store) -> None:
    """Mark `cancelling` jobs as cancelled if their workers have ended."""
    with store.begin() as session:
        for row in session.scalars(select(Job).where(Job.state == "cancelling").with_for_update()):
            _finish_cancellation(session, row)


def is_running(store: Store, job_id: str) -> bool:
    """Return whether a job is running, and neither ended nor being cancelled."""
    with store.session() as session:
        return session.scalars(select(Job.state).where(Job.id == job_id)).one() == "running"


def is_unit_completed(store: Store, job_id: str, unit: str) -> bool:
    """Return whether a unit of a job is committed."""
    with store.session() as session:
        return session.get(JobUnit, (job_id, unit)) is not None


def complete_unit(
    store: Store, job_id: str, unit: CompletedUnit, result: dict[str, Any] | None
) -> None:
    """Record a committed unit and its part of the job's result; a second call changes nothing."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if session.get(JobUnit, (job_id, unit.unit)) is not None:
            return
        session.add(JobUnit(job_id=job_id, finished_at=now(), **asdict(unit)))
        row.done, row.updated_at = row.done + 1, now()
        row.part = row.parts = None
        if result:
            row.result = {**(row.result or {}), **result}


def update_activity(store: Store, job_id: str, activity: str, part: int, parts: int) -> None:
    """Write the current activity of a job and its progress."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.activity, row.part, row.parts, row.updated_at = activity, part, parts, now()


def _end(session: Session, row: Job, state: State) -> None:
    job_log.write(session, row.id, state)
    row.state, row.activity = state, None
    row.part = row.parts = None
    row.updated_at = row.finished_at = now()
    if state != "finished":
        # An equal job can be submitted again.
        row.claim = None


def finish(store: Store, job_id: str, result: dict[str, Any]) -> None:
    """Mark a running job as finished, with its result."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state == "running":
            row.result = {**result, **(row.result or {})}
            _end(session, row, "finished")


def fail(store: Store, job_id: str, error: QuantaError, attempt: int | None = None) -> None:
    """Mark an open job as failed; only in its current attempt, if one is given."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if attempt in (None, row.attempt):
            _fail(session, row, error)


def _fail(session: Session, row: Job, error: QuantaError) -> None:
    if row.state not in OPEN_STATES:
        return
    if row.state == "cancelling":
        _end(session, row, "cancelled")
        return
    job_log.write(session, row.id, error.problem)
    _end(session, row, "failed")
    row.problem, row.remedy = error.problem, error.remedy
