"""The job table: asking, reading, and the progress that workers write."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db import Store
from backend.errors import InvalidInputError, NotFoundError, QuantaError
from backend.jobs.kinds import Asked, Kind, checked, shown_parameters
from backend.keys import result_key
from backend.models import Job
from backend.models.base import now

State = Literal["queued", "running", "finished", "failed"]
OPEN_STATES = ("queued", "running")
MAX_JOBS = 200


@dataclass(frozen=True)
class JobView:
    """A job as shown; `done` of `total` units are committed.

    `result` names what it made (finished), `problem` and `remedy` say why there is none (failed).
    `page` is the page of the application that shows the result.
    """

    id: str
    kind: Kind
    state: State
    parameters: dict[str, Any]
    done: int
    total: int | None
    unit: str
    result: dict[str, Any] | None
    problem: str | None
    remedy: str | None
    page: str | None
    created_at: str
    updated_at: str
    finished_at: str | None


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None


def _stamp(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _view(row: Job, *, whole: bool = True) -> JobView:
    return JobView(
        id=row.id,
        kind=cast(Kind, row.kind),
        state=cast(State, row.state),
        parameters=dict(row.parameters) if whole else shown_parameters(row.parameters),
        done=row.done,
        total=row.total,
        unit=row.unit,
        result=row.result,
        problem=row.problem,
        remedy=row.remedy,
        page=(row.result or {}).get("page"),
        created_at=cast(str, _stamp(row.created_at)),
        updated_at=cast(str, _stamp(row.updated_at)),
        finished_at=_stamp(row.finished_at),
    )


def _repeated(session: Session, idempotency_key: str | None, key: str) -> Job | None:
    if idempotency_key is None:
        return None
    row = session.scalars(select(Job).where(Job.idempotency_key == idempotency_key)).one_or_none()
    if row is not None and row.key != key:
        raise InvalidInputError(
            "this Idempotency-Key belongs to another request",
            "Send a new key with new parameters",
            "Idempotency-Key",
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
            unit="checkpoints",
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


def open_jobs(store: Store) -> tuple[str, ...]:
    """Return ids of jobs that are neither finished nor failed, oldest first."""
    with store.session() as session:
        return tuple(
            session.scalars(
                select(Job.id).where(Job.state.in_(OPEN_STATES)).order_by(Job.created_at)
            )
        )


def begin(store: Store, job_id: str, total: int) -> None:
    """Note that a job runs and has so many units."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.state, row.total, row.updated_at = "running", total, now()


def advance(store: Store, job_id: str, done: int) -> None:
    """Note that so many units of a job are committed."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.done, row.updated_at = done, now()


def finish(store: Store, job_id: str, result: dict[str, Any]) -> None:
    """Note a job's result."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        row.state, row.result = "finished", result
        row.updated_at = row.finished_at = now()


def fail(store: Store, job_id: str, error: QuantaError) -> None:
    """Note why a job ended without a result; the same can then be asked for again."""
    with store.begin() as session:
        row = session.get_one(Job, job_id)
        if row.state not in OPEN_STATES:
            return
        row.state, row.claim, row.idempotency_key = "failed", None, None
        row.problem, row.remedy = error.problem, error.remedy
        row.updated_at = row.finished_at = now()
