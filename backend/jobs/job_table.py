"""The job table: reading, cancelling, and the progress that workers write."""

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
from backend.read.jobs import view_of
from backend.read.paging import tail_page
from backend.store import data_files as files
from backend.store.database import Store
from backend.store.tables import Claim, Job, JobUnit, Worker
from backend.store.tables.base import now

MAX_JOBS = 200
# Workers that began with a job and ended before any came back from it: then it is the job that ends
# them. More than chance brings about on machines that come and go.
MAX_CRASHES = 25


def get_job(store: Store, job_id: str) -> JobView:
    """Return one job.

    Raises:
        NotFoundError: there is none of that id.
    """
    with store.session() as session:
        row = session.get(Job, job_id)
        if row is None:
            raise NotFoundError(f"there is no job {job_id!r}", "GET /api/v1/jobs lists them")
        return view_of(row)


def list_jobs(
    store: Store,
    *,
    left: int | None = None,
    limit: int = 50,
    state: State | None = None,
    kind: str | None = None,
) -> JobPage:
    """Return jobs, newest first, with long parameters cut; of a state or kind only, if given.

    `left` is how many of them come from this page on (`backend.read.reader.tail_page`).
    """
    wanted: list[ColumnElement[bool]] = []
    if state is not None:
        wanted.append(Job.state == state)
    if kind is not None:
        wanted.append(Job.kind == kind)
    with store.session() as session:
        n_rows = session.scalar(select(func.count()).select_from(Job).where(*wanted)) or 0
        offset, following = tail_page(n_rows, left, limit)
        query = select(Job).where(*wanted).order_by(Job.created_at.desc(), Job.id)
        rows = session.scalars(query.offset(offset).limit(limit)).all()
    return JobPage(tuple(view_of(row, whole=False) for row in rows), following)


def exported_file(store: Store, job_id: str) -> Path:
    """Return the path of the file that a finished job made.

    Raises:
        NotFoundError: there is no such job, or no file of it (any more).
    """
    view = get_job(store, job_id)
    path = files.exports_folder(store) / str((view.result or {}).get("file"))
    if view.state != "finished" or not path.is_file():
        raise NotFoundError(
            f"job {job_id} has no file", "A finished export has one; ask for it again if it is gone"
        )
    return path


def list_open_jobs(store: Store) -> tuple[JobView, ...]:
    """Return jobs that have not ended, oldest first."""
    with store.session() as session:
        rows = session.scalars(
            select(Job).where(Job.state.in_(OPEN_STATES)).order_by(Job.created_at)
        )
        return tuple(view_of(row) for row in rows)


def _lock_row(session: Session, job_id: str) -> Job:
    row = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no job {job_id!r}", "GET /api/v1/jobs lists them")
    return row


def cancel(store: Store, job_id: str) -> JobView:
    """Ask for the end of a job; what is committed stays, and it can be resumed.

    A job that no worker has begun is cancelled at once, one that runs is `cancelling` until its
    worker has stopped. Asking again, or after its end, changes nothing.

    Raises:
        NotFoundError: there is none of that id.
    """
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state == "queued":
            _end(session, row, "cancelled")
        elif row.state == "running":
            row.state, row.updated_at = "cancelling", now()
            job_log.write(session, job_id, "asked to stop")
            _stop_if_idle(session, row)
        return view_of(row)


def _stop_if_idle(session: Session, row: Job) -> None:
    """Call a job that is being cancelled cancelled once no living worker computes for it."""
    at_work = select(Worker.id).where(Worker.state == "live", Worker.job_id == row.id)
    if row.state == "cancelling" and session.scalars(at_work).first() is None:
        _end(session, row, "cancelled")


def resume(store: Store, job_id: str) -> JobView:
    """Queue a job again that failed or was cancelled; what is committed is not computed again.

    Raises:
        NotFoundError: there is none of that id.
        ConflictError: it is open or finished, or an equal job is.
    """
    try:
        return _resumed(store, job_id)
    except IntegrityError as error:
        raise ConflictError(
            f"a job equal to {job_id} was asked for at the same time", "Look at the newest one"
        ) from error


def _resumed(store: Store, job_id: str) -> JobView:
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state not in {"failed", "cancelled"}:
            raise ConflictError(
                f"job {job_id} is {row.state}", "Only a failed or cancelled job can be resumed"
            )
        equal = session.scalars(select(Job.id).where(Job.claim == row.key)).one_or_none()
        if equal is not None:
            raise ConflictError(
                f"job {equal} was asked the same after {job_id} had ended", f"Look at {equal}"
            )
        row.state, row.claim, row.attempt = "queued", row.key, row.attempt + 1
        row.crash_count = 0
        row.problem = row.remedy = row.finished_at = row.started_at = row.activity = None
        row.updated_at = now()
        job_log.write(session, job_id, f"queued again: attempt {row.attempt}")
        return view_of(row)


def start_attempt(store: Store, job_id: str, attempt: int, worker_id: str) -> bool:
    """Note that an attempt of a job runs; False if it is not to run (any more)."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.attempt != attempt or not _counts(session, row):
            return False
        if row.state == "queued":
            row.state, row.started_at, row.done_before = "running", now(), row.done
            job_log.write(session, job_id, f"begun by {worker_id}")
        row.updated_at = now()
        return row.state == "running"


def set_units(store: Store, job_id: str, units: Collection[str]) -> None:
    """Note of which units this attempt of a job consists; others that are done count no more."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        done = session.scalars(select(JobUnit.unit).where(JobUnit.job_id == job_id))
        row.done = row.done_before = len(set(done) & set(units))
        row.total, row.updated_at = len(units), now()
        row.crash_count = 0


@dataclass(frozen=True)
class CompletedUnit:
    """A unit that is committed; `is_stored`: nothing was computed for it, None if not known."""

    unit: str
    worker: str
    seconds: float
    is_stored: bool | None


class RepeatedCrashError(QuantaError):
    """Worker after worker ended on a job."""

    def __init__(self, times: int) -> None:
        super().__init__(
            f"{times} workers in a row ended while they computed this job",
            "See the workers' messages (too little memory?), then resume it",
        )


def _counts(session: Session, row: Job) -> bool:
    """Count that a worker begins with a job; False if it ended too many already."""
    if row.crash_count >= MAX_CRASHES:
        _fail(session, row, RepeatedCrashError(row.crash_count))
        return False
    row.crash_count += 1
    return True


def start_unit(store: Store, job_id: str, attempt: int, worker_id: str) -> bool:
    """Note that a worker begins a unit; False if units of this attempt are not wanted."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state != "running" or row.attempt != attempt:
            return False
        if not _counts(session, row):
            return False
        session.get_one(Worker, worker_id).job_id = job_id
        return True


def release_unit(store: Store, job_id: str, worker_id: str) -> None:
    """Note that a worker computes no unit any more."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        row.crash_count = 0  # it came back
        session.get_one(Worker, worker_id).job_id = None
        # Its computing process may have been ended while it held one.
        session.execute(delete(Claim).where(Claim.worker == worker_id))
        session.flush()
        _stop_if_idle(session, row)


def finish_cancellations(store: Store) -> None:
    """Call jobs cancelled whose workers ended while they were being cancelled."""
    with store.begin() as session:
        for row in session.scalars(select(Job).where(Job.state == "cancelling").with_for_update()):
            _stop_if_idle(session, row)


def is_running(store: Store, job_id: str) -> bool:
    """Return whether a job is to go on."""
    with store.session() as session:
        return session.scalars(select(Job.state).where(Job.id == job_id)).one() == "running"


def is_unit_completed(store: Store, job_id: str, unit: str) -> bool:
    """Return whether a unit of a job is committed."""
    with store.session() as session:
        return session.get(JobUnit, (job_id, unit)) is not None


def complete_unit(
    store: Store, job_id: str, done: CompletedUnit, made: dict[str, Any] | None
) -> None:
    """Note that a unit of a job is committed, and what it made; twice is once."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if session.get(JobUnit, (job_id, done.unit)) is not None:
            return
        session.add(JobUnit(job_id=job_id, finished_at=now(), **asdict(done)))
        row.done, row.updated_at = row.done + 1, now()
        row.part = row.parts = None
        if made:
            row.result = {**(row.result or {}), **made}


def update_activity(store: Store, job_id: str, activity: str, part: int, parts: int) -> None:
    """Note what is done just now, and how far that is."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.activity, row.part, row.parts, row.updated_at = activity, part, parts, now()


def _end(session: Session, row: Job, state: State) -> None:
    job_log.write(session, row.id, state)
    row.state, row.activity = state, None
    row.part = row.parts = None
    row.updated_at = row.finished_at = now()
    if state != "finished":
        # The same can then be asked for again.
        row.claim = None


def finish(store: Store, job_id: str, result: dict[str, Any]) -> None:
    """Note a job's result."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.state == "running":
            row.result = {**result, **(row.result or {})}
            _end(session, row, "finished")


def fail(store: Store, job_id: str, error: QuantaError) -> None:
    """Note why a job ended without a result; it can then be resumed, or asked for again."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        _fail(session, row, error)


def fail_attempt(store: Store, job_id: str, attempt: int, error: QuantaError) -> None:
    """Note that an attempt of a job will never go on, if it is still the present one."""
    with store.begin() as session:
        row = _lock_row(session, job_id)
        if row.attempt == attempt:
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
