"""The job table: asking, reading, and the progress that workers write."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db import Store
from backend.errors import ConflictError, NotFoundError, QuantaError
from backend.jobs import notes
from backend.jobs.kinds import KINDS, checked, files
from backend.jobs.shown import view_of
from backend.jobs.views import JobPage, JobView, Requires, State
from backend.keys import result_key
from backend.models import Claim, Job, JobUnit, Worker
from backend.models.base import now

OPEN_STATES = ("queued", "running", "cancelling")
MAX_JOBS = 200


def _repeated(session: Session, idempotency_key: str | None, key: str) -> Job | None:
    if idempotency_key is None:
        return None
    row = session.scalars(select(Job).where(Job.idempotency_key == idempotency_key)).one_or_none()
    if row is not None and row.key != key:
        raise ConflictError(
            "this Idempotency-Key belongs to another request", "Send a new key with new parameters"
        )
    return row


def _equal(store: Store, session: Session, key: str) -> Job | None:
    """Return the open or finished job of a content key, unless what it made is gone."""
    row = session.scalars(select(Job).where(Job.claim == key)).one_or_none()
    if row is None or row.state != "finished":
        return row
    if KINDS[row.kind].is_there(store, row.result or {}):
        return row
    row.claim = row.idempotency_key = None
    session.flush()
    return None


def _queued(kind: str, parameters: dict[str, Any], key: str) -> Job:
    """Return a job as it begins."""
    return Job(
        id=f"j{secrets.token_hex(8)}",
        kind=kind,
        state="queued",
        parameters=parameters,
        key=key,
        claim=key,
        done=0,
        total=None,
        attempt=1,
        unit=KINDS[kind].unit,
        updated_at=now(),
    )


def submit(
    store: Store,
    kind: str,
    asked: Mapping[str, Any],
    idempotency_key: str | None = None,
    requires: Requires = "any",
) -> tuple[JobView, bool]:
    """Write a job down, or find the one that was asked for before.

    Args:
        store: where the job is.
        kind: of backend.jobs.kinds.KINDS.
        asked: its parameters.
        idempotency_key: the same key gives the same job.
        requires: "cuda" if only a worker with a GPU may do it; no part of what is equal.

    Returns:
        The job, and whether it is new. It runs once the engine has it too (`engine.enqueue`).

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: what cannot be asked.
        ConflictError: the idempotency key belongs to another request.
    """
    with store.session() as session:
        parameters = checked(store, session, kind, asked)
        key = result_key("job", kind=kind, parameters=parameters)
        row = _repeated(session, idempotency_key, key) or _equal(store, session, key)
        if row is not None:
            return view_of(row), False
        made = _queued(kind, parameters, key)
        made.idempotency_key, made.requires = idempotency_key, requires
        made.work = KINDS[kind].cost(store, session, parameters).work
        session.add(made)
        try:
            session.commit()
        except IntegrityError:
            # The same request came in twice at once: the first one stands.
            session.rollback()
            row = _repeated(session, idempotency_key, key)
            row = row or session.scalars(select(Job).where(Job.claim == key)).one()
            return view_of(row), False
        return view_of(made), True


def job(store: Store, job_id: str) -> JobView:
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
    offset: int = 0,
    limit: int = 50,
    state: State | None = None,
    kind: str | None = None,
) -> JobPage:
    """Return jobs, newest first, with long parameters cut; of a state or kind only, if given."""
    wanted = select(Job).order_by(Job.created_at.desc(), Job.id)
    if state is not None:
        wanted = wanted.where(Job.state == state)
    if kind is not None:
        wanted = wanted.where(Job.kind == kind)
    with store.session() as session:
        rows = session.scalars(wanted.offset(offset).limit(limit + 1)).all()
    views = tuple(view_of(row, whole=False) for row in rows[:limit])
    return JobPage(views, str(offset + limit) if len(rows) > limit else None)


def file_of(store: Store, job_id: str) -> Path:
    """Return the path of the file that a finished job made.

    Raises:
        NotFoundError: there is no such job, or no file of it (any more).
    """
    view = job(store, job_id)
    path = files.exports(store) / str((view.result or {}).get("file"))
    if view.state != "finished" or not path.is_file():
        raise NotFoundError(
            f"job {job_id} has no file", "A finished export has one; ask for it again if it is gone"
        )
    return path


def open_jobs(store: Store) -> tuple[JobView, ...]:
    """Return jobs that have not ended, oldest first."""
    with store.session() as session:
        rows = session.scalars(
            select(Job).where(Job.state.in_(OPEN_STATES)).order_by(Job.created_at)
        )
        return tuple(view_of(row) for row in rows)


def _locked(session: Session, job_id: str) -> Job:
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
        row = _locked(session, job_id)
        if row.state == "queued":
            _end(session, row, "cancelled")
        elif row.state == "running":
            row.state, row.updated_at = "cancelling", now()
            notes.write(session, job_id, "asked to stop")
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
    with store.begin() as session:
        row = _locked(session, job_id)
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
        row.problem = row.remedy = row.finished_at = row.started_at = row.activity = None
        row.updated_at = now()
        notes.write(session, job_id, f"queued again: attempt {row.attempt}")
        return view_of(row)


def begin(store: Store, job_id: str, worker_id: str) -> bool:
    """Note that a job runs; False if it is not to run (any more)."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state == "queued":
            row.state, row.started_at, row.done_before = "running", now(), row.done
            notes.write(session, job_id, f"begun by {worker_id}")
        row.updated_at = now()
        return row.state == "running"


def expect(store: Store, job_id: str, total: int) -> None:
    """Note of how many units a job consists, as far as is known now."""
    with store.begin() as session:
        row = _locked(session, job_id)
        row.total, row.updated_at = max(total, row.done), now()


def take(store: Store, job_id: str, attempt: int, worker_id: str) -> bool:
    """Note that a worker begins a unit; False if units of this attempt are not wanted."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state != "running" or row.attempt != attempt:
            return False
        session.get_one(Worker, worker_id).job_id = job_id
        return True


def put_down(store: Store, job_id: str, worker_id: str) -> None:
    """Note that a worker computes no unit any more."""
    with store.begin() as session:
        row = _locked(session, job_id)
        session.get_one(Worker, worker_id).job_id = None
        # Its computing process may have been ended while it held one.
        session.execute(delete(Claim).where(Claim.worker == worker_id))
        session.flush()
        _stop_if_idle(session, row)


def stop_idle(store: Store) -> None:
    """Call jobs cancelled whose workers ended while they were being cancelled."""
    with store.begin() as session:
        for row in session.scalars(select(Job).where(Job.state == "cancelling").with_for_update()):
            _stop_if_idle(session, row)


def is_wanted(store: Store, job_id: str) -> bool:
    """Return whether a job is to go on."""
    with store.session() as session:
        return session.scalars(select(Job.state).where(Job.id == job_id)).one() == "running"


def is_done(store: Store, job_id: str, unit: str) -> bool:
    """Return whether a unit of a job is committed."""
    with store.session() as session:
        return session.get(JobUnit, (job_id, unit)) is not None


def advance(
    store: Store, job_id: str, unit: str, worker: str, seconds: float, made: dict[str, Any] | None
) -> None:
    """Note that a unit of a job is committed, and what it made; twice is once."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if session.get(JobUnit, (job_id, unit)) is not None:
            return
        session.add(
            JobUnit(job_id=job_id, unit=unit, worker=worker, seconds=seconds, finished_at=now())
        )
        row.done, row.updated_at = row.done + 1, now()
        row.part = row.parts = None
        if made:
            row.result = {**(row.result or {}), **made}


def tell(store: Store, job_id: str, activity: str, part: int, parts: int) -> None:
    """Note what is done just now, and how far that is."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.activity, row.part, row.parts, row.updated_at = activity, part, parts, now()


def _end(session: Session, row: Job, state: State) -> None:
    notes.write(session, row.id, state)
    row.state, row.activity = state, None
    row.part = row.parts = None
    row.updated_at = row.finished_at = now()
    if state != "finished":
        # The same can then be asked for again.
        row.claim = row.idempotency_key = None


def finish(store: Store, job_id: str, result: dict[str, Any]) -> None:
    """Note a job's result."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state == "running":
            row.result = {**result, **(row.result or {})}
            _end(session, row, "finished")


def fail(store: Store, job_id: str, error: QuantaError) -> None:
    """Note why a job ended without a result; it can then be resumed, or asked for again."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state not in OPEN_STATES:
            return
        if row.state == "cancelling":
            _end(session, row, "cancelled")
            return
        notes.write(session, job_id, error.problem)
        _end(session, row, "failed")
        row.problem, row.remedy = error.problem, error.remedy
