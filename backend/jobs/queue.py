"""Submission of jobs from a server or a script: a row in the job table, then a workflow."""

import secrets
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, make_transient

from backend.errors import ConflictError
from backend.jobs import job_table
from backend.jobs.kinds.registry import KINDS, validate_params
from backend.read.job_views import JobView, Requires
from backend.read.jobs import job_view
from backend.store.database import Store
from backend.store.tables import Job, JobRequest
from backend.store.tables.base import now

MAX_ATTEMPTS = 3


def _find_by_idempotency_key(
    store: Store, session: Session, idempotency_key: str | None, key: str
) -> Job | None:
    """Return the job of an idempotency key, unless its result is gone."""
    if idempotency_key is None:
        return None
    request = session.get(JobRequest, idempotency_key)
    if request is None:
        return None
    if request.content != key:
        raise ConflictError(
            "this Idempotency-Key belongs to another request", "Send a new key with new parameters"
        )
    row = session.get_one(Job, request.job_id)
    if row.state == "finished" and not KINDS[row.kind].has_result(store, row.result or {}):
        session.delete(request)
        return None
    return row


def _save_idempotency_key(session: Session, idempotency_key: str | None, row: Job) -> None:
    """Store the job of an idempotency key for as long as the job exists."""
    if idempotency_key is not None and session.get(JobRequest, idempotency_key) is None:
        session.add(JobRequest(idempotency_key=idempotency_key, content=row.key, job_id=row.id))


def _find_equal(store: Store, session: Session, key: str) -> Job | None:
    """Return the open or finished job of a content key, unless its result is gone."""
    row = session.scalars(select(Job).where(Job.claim == key)).one_or_none()
    if row is None or row.state != "finished":
        return row
    if KINDS[row.kind].has_result(store, row.result or {}):
        return row
    row.claim = None
    session.flush()
    return None


def insert(
    store: Store,
    kind: str,
    params: Mapping[str, Any],
    idempotency_key: str | None = None,
    requires: Requires = "any",
) -> tuple[JobView, bool]:
    """Insert a job without a workflow, or return the equal one; also return whether it is new."""
    with store.session() as session:
        # Outside the writing transaction, because validation may read files.
        validated = validate_params(store, session, kind, params)
        work = KINDS[kind].cost(store, session, validated).work
    key = KINDS[kind].key(validated)
    new = Job(
        id=f"j{secrets.token_hex(8)}",
        kind=kind,
        state="queued",
        parameters=validated,
        key=key,
        claim=key,
        requires=requires,
        work=work,
        done=0,
        total=None,
        attempt=1,
        unit=KINDS[kind].unit,
        updated_at=now(),
    )
    for _ in range(MAX_ATTEMPTS):
        try:
            with store.begin() as session:
                row = _find_by_idempotency_key(store, session, idempotency_key, key)
                row = row or _find_equal(store, session, key)
                if row is None:
                    session.add(new)
                    session.flush()
                _save_idempotency_key(session, idempotency_key, row or new)
                return job_view(row or new), row is None
        except IntegrityError:
            # An equal request was inserted at the same time; the next attempt returns it.
            make_transient(new)
    raise ConflictError("equal requests arrived at the same time", "Send it again")


def submit(
    store: Store,
    kind: str,
    params: Mapping[str, Any],
    idempotency_key: str | None = None,
    requires: Requires = "any",
) -> JobView:
    """Submit a job, or return the equal one.

    Args:
        store: store of the job.
        kind: name of a kind in `backend.jobs.kinds.registry.KINDS`.
        params: parameters of the request.
        idempotency_key: a key that returns the same job on a retry.
        requires: "cuda" if only a worker with a GPU may execute the job; equal jobs may differ
            in it.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: the parameters are not valid.
        ConflictError: the idempotency key belongs to another request.
    """
    from backend.jobs import workflows

    view, is_new = insert(store, kind, params, idempotency_key, requires)
    if is_new:
        # If this fails, a worker finds the row and enqueues the job.
        workflows.enqueue(store.settings, view.id, view.attempt, view.requires)
    return view


def resume(store: Store, job_id: str) -> JobView:
    """Queue a failed or cancelled job again.

    Raises:
        NotFoundError: no job has this id.
        ConflictError: the job is open or finished, or an equal job is.
    """
    from backend.jobs import workflows

    view = job_table.resume(store, job_id)
    workflows.enqueue(store.settings, view.id, view.attempt, view.requires)
    return view


def preload() -> None:
    """Import the engine's library in the background, so that the first request need not wait."""
    threading.Thread(target=_import_engine, daemon=True).start()


def _import_engine() -> None:
    import backend.jobs.workflows  # noqa: F401
