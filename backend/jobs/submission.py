"""Submission of a job: validate, return the equal job if there is one, or write a new row."""

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, make_transient

from backend.errors import ConflictError
from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import JobView, Requires
from backend.read.jobs import view_of
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Job, JobRequest
from backend.store.tables.base import now

TIMES = 3


def _repeated(store: Store, session: Session, idempotency_key: str | None, key: str) -> Job | None:
    """Return the job that a key was sent for before, unless what it made is gone."""
    if idempotency_key is None:
        return None
    asked = session.get(JobRequest, idempotency_key)
    if asked is None:
        return None
    if asked.content != key:
        raise ConflictError(
            "this Idempotency-Key belongs to another request", "Send a new key with new parameters"
        )
    row = session.get_one(Job, asked.job_id)
    if row.state == "finished" and not KINDS[row.kind].has_result(store, row.result or {}):
        session.delete(asked)
        return None
    return row


def _noted(session: Session, idempotency_key: str | None, row: Job) -> None:
    """Remember what a key was sent for, for as long as the job is known."""
    if idempotency_key is not None and session.get(JobRequest, idempotency_key) is None:
        session.add(JobRequest(idempotency_key=idempotency_key, content=row.key, job_id=row.id))


def _equal(store: Store, session: Session, key: str) -> Job | None:
    """Return the open or finished job of a content key, unless what it made is gone."""
    row = session.scalars(select(Job).where(Job.claim == key)).one_or_none()
    if row is None or row.state != "finished":
        return row
    if KINDS[row.kind].has_result(store, row.result or {}):
        return row
    row.claim = None
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
        # Outside the transaction that writes: files may be read for it.
        parameters = validate_params(store, session, kind, asked)
        work = KINDS[kind].cost(store, session, parameters).work
    key = result_key("job", kind=kind, parameters=parameters)
    made = _queued(kind, parameters, key)
    made.requires, made.work = requires, work
    for _ in range(TIMES):
        try:
            with store.begin() as session:
                row = _repeated(store, session, idempotency_key, key)
                row = row or _equal(store, session, key)
                if row is None:
                    session.add(made)
                    session.flush()
                _noted(session, idempotency_key, row or made)
                return view_of(row or made), row is None
        except IntegrityError:
            # The same request came in twice at once: the first one stands, and is found now.
            make_transient(made)
    raise ConflictError("equal requests came in at once", "Send it again")
