"""Submission of jobs from a server or a script: a row in the job table, then a workflow."""

import threading
from collections.abc import Mapping
from typing import Any

from backend.jobs import job_table, submission
from backend.read.job_views import JobView, Requires
from backend.store.database import Store


def submit(
    store: Store,
    kind: str,
    params: Mapping[str, Any],
    idempotency_key: str | None = None,
    requires: Requires = "any",
) -> JobView:
    """Submit a job, or return the equal one.

    Raises:
        InvalidInputError, NotFoundError, NotReadyError: the parameters are not valid.
    """
    from backend.jobs import workflows

    view, is_new = submission.submit(store, kind, params, idempotency_key, requires)
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
