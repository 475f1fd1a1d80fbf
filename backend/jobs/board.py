"""The job table: asking, reading, and the progress that workers write."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db import Store
from backend.errors import ConflictError, NotFoundError, QuantaError
from backend.jobs.kinds import KIND_UNITS, Asked, Kind, checked, shown_parameters
from backend.keys import result_key
from backend.models import Job, JobUnit, Worker
from backend.models.base import now, utc

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
OPEN_STATES = ("queued", "running", "cancelling")
MAX_JOBS = 200


@dataclass(frozen=True)
class JobView:
    """A job as shown; `done` of `total` units are committed.

    `activity` is what is done just now, `part` of `parts` how far that is. `fraction` is of the
    whole job, `seconds_left` what remains at the pace so far; None while nothing is known.
    `result` names what it made (finished), `problem` and `remedy` say why there is none (failed).
    `page` is the page of the application that shows the result. A cancelled or failed job can be
    resumed: `attempt` counts how often it was begun.
    """

    id: str
    kind: Kind
    state: State
    parameters: dict[str, Any]
    done: int
    total: int | None
    unit: str
    attempt: int
    activity: str | None
    part: int | None
    parts: int | None
    fraction: float | None
    seconds_left: float | None
    result: dict[str, Any] | None
    problem: str | None
    remedy: str | None
    page: str | None
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None


def _stamp(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _fraction(row: Job) -> float | None:
    """Return which share of a job is done, the unit in progress included."""
    if row.state == "finished":
        return 1.0
    if not row.total:
        return None
    share = min(row.part / row.parts, 1.0) if row.part and row.parts else 0.0
    # One unit at a time tells of itself; with several at work its share is small.
    return min(row.done + share, row.total) / row.total


def _seconds_left(row: Job, fraction: float | None) -> float | None:
    if row.state != "running" or not fraction or row.started_at is None:
        return None
    spent = (utc(row.updated_at) - utc(row.started_at)).total_seconds()
    return round(spent * (1 - fraction) / fraction, 1)


def _view(row: Job, *, whole: bool = True) -> JobView:
    fraction = _fraction(row)
    return JobView(
        id=row.id,
        kind=cast(Kind, row.kind),
        state=cast(State, row.state),
        parameters=dict(row.parameters) if whole else shown_parameters(row.parameters),
        done=row.done,
        total=row.total,
        unit=row.unit,
        attempt=row.attempt,
        activity=row.activity,
        part=row.part,
        parts=row.parts,
        fraction=fraction,
        seconds_left=_seconds_left(row, fraction),
        result=row.result,
        problem=row.problem,
        remedy=row.remedy,
        page=(row.result or {}).get("page"),
        created_at=cast(str, _stamp(row.created_at)),
        started_at=_stamp(row.started_at),
        updated_at=cast(str, _stamp(row.updated_at)),
        finished_at=_stamp(row.finished_at),
    )


def _repeated(session: Session, idempotency_key: str | None, key: str) -> Job | None:
    if idempotency_key is None:
        return None
    row = session.scalars(select(Job).where(Job.idempotency_key == idempotency_key)).one_or_none()
    if row is not None and row.key != key:
        raise ConflictError(
            "this Idempotency-Key belongs to another request", "Send a new key with new parameters"
        )
    return row


def submit(
    store: Store, kind: Kind, asked: Asked, idempotency_key: str | None = None
) -> tuple[JobView, bool]:
    """Write a job down, or find the one that was asked for before.

    Returns:
        The job, and whether it is new. It runs once the engine has it too (`engine.enqueue`).

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: what cannot be asked.
        ConflictError: the idempotency key belongs to another request.
    """
    with store.session() as session:
        parameters = checked(session, kind, asked)
        key = result_key("job", kind=kind, parameters=parameters)
        if (row := _repeated(session, idempotency_key, key)) is not None:
            return _view(row), False
        if (row := session.scalars(select(Job).where(Job.claim == key)).one_or_none()) is not None:
            return _view(row), False
        made = Job(
            id=f"j{secrets.token_hex(8)}",
            kind=kind,
            state="queued",
            parameters=parameters,
            key=key,
            claim=key,
            idempotency_key=idempotency_key,
            done=0,
            total=None,
            attempt=1,
            unit=KIND_UNITS[kind],
            updated_at=now(),
        )
        session.add(made)
        try:
            session.commit()
        except IntegrityError:
            # The same request came in twice at once: the first one stands.
            session.rollback()
            row = _repeated(session, idempotency_key, key)
            row = row or session.scalars(select(Job).where(Job.claim == key)).one()
            return _view(row), False
        return _view(made), True


def job(store: Store, job_id: str) -> JobView:
    """Return one job.

    Raises:
        NotFoundError: there is none of that id.
    """
    with store.session() as session:
        row = session.get(Job, job_id)
        if row is None:
            raise NotFoundError(f"there is no job {job_id!r}", "GET /api/v1/jobs lists them")
        return _view(row)


def list_jobs(store: Store, *, offset: int = 0, limit: int = 50) -> JobPage:
    """Return jobs, newest first, with long parameters cut."""
    with store.session() as session:
        rows = session.scalars(
            select(Job).order_by(Job.created_at.desc(), Job.id).offset(offset).limit(limit + 1)
        ).all()
    views = tuple(_view(row, whole=False) for row in rows[:limit])
    return JobPage(views, str(offset + limit) if len(rows) > limit else None)


def open_jobs(store: Store) -> tuple[JobView, ...]:
    """Return jobs that have not ended, oldest first."""
    with store.session() as session:
        rows = session.scalars(
            select(Job).where(Job.state.in_(OPEN_STATES)).order_by(Job.created_at)
        )
        return tuple(_view(row) for row in rows)


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
            _end(row, "cancelled")
        elif row.state == "running":
            row.state, row.updated_at = "cancelling", now()
            _stop_if_idle(session, row)
        return _view(row)


def _stop_if_idle(session: Session, row: Job) -> None:
    """Call a job that is being cancelled cancelled once no living worker computes for it."""
    at_work = select(Worker.id).where(Worker.state == "live", Worker.job_id == row.id)
    if row.state == "cancelling" and session.scalars(at_work).first() is None:
        _end(row, "cancelled")


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
        return _view(row)


def begin(store: Store, job_id: str) -> bool:
    """Note that a job runs; False if it is not to run (any more)."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state == "queued":
            row.state, row.started_at = "running", now()
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


def _end(row: Job, state: State) -> None:
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
            _end(row, "finished")


def fail(store: Store, job_id: str, error: QuantaError) -> None:
    """Note why a job ended without a result; it can then be resumed, or asked for again."""
    with store.begin() as session:
        row = _locked(session, job_id)
        if row.state not in OPEN_STATES:
            return
        if row.state == "cancelling":
            _end(row, "cancelled")
            return
        _end(row, "failed")
        row.problem, row.remedy = error.problem, error.remedy
