"""Asking for a job from a server or a script: written down first, then handed to the engine."""

import threading
from collections.abc import Mapping
from typing import Any

from backend.jobs import job_table, submission
from backend.read.job_views import JobView, Requires
from backend.store.database import Store


def submit(
    store: Store,
    kind: str,
    asked: Mapping[str, Any],
    idempotency_key: str | None = None,
    requires: Requires = "any",
) -> JobView:
    """Ask for a job, or find the equal one that was asked for before.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: what cannot be asked.
    """
    from backend.jobs import engine

    view, is_new = submission.submit(store, kind, asked, idempotency_key, requires)
    if is_new:
        # Should this not reach the engine, a worker finds the row and hands it in itself.
        engine.enqueue(store.settings, view.id, view.attempt, view.requires)
    return view


def resume(store: Store, job_id: str) -> JobView:
    """Queue a job again that failed or was cancelled.

    Raises:
        NotFoundError: there is none of that id.
        ConflictError: it is open or finished, or an equal job is.
    """
    from backend.jobs import engine

    view = job_table.resume(store, job_id)
    engine.enqueue(store.settings, view.id, view.attempt, view.requires)
    return view


def warm() -> None:
    """Load the engine's library in the background, so that the first request need not wait."""
    threading.Thread(target=_load, daemon=True).start()


def _load() -> None:
    from backend.jobs import engine

    assert engine.NAME
