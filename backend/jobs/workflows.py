"""Workflows of the job engine, seen from outside: enqueue, list, cancel and delete them.

Any process may call this; only workers run `backend.jobs.engine`. The engine's tables are in
`jobs.sqlite` beside an embedded store, or in a schema of their own of a PostgreSQL store.
Arguments are portable JSON: a job's id, its attempt, a slice.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dbos import DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

from backend.jobs.dbos_private import forbid_pickle
from backend.settings import Settings

NAME = "quanta"
# Raised only when the order of a workflow's steps changes: pending jobs of another version wait.
VERSION = "2"
WORKFLOW, SLICE = "job", "slice"
# Workers without a GPU do not listen to the CUDA queues, so jobs that wait there block nobody.
JOBS, SLICES = "quanta-jobs", "quanta-slices"
CUDA_JOBS, CUDA_SLICES = "quanta-jobs-cuda", "quanta-slices-cuda"
SERIALIZER = DBOSPortableJSONSerializer()
ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "REFUSED"})
BATCH = 500

forbid_pickle()


def workflow_id(job_id: str, attempt: int) -> str:
    """Return the id of the workflow of a job's attempt."""
    return job_id if attempt == 1 else f"{job_id}.{attempt}"


def attempt_of(workflow: str) -> tuple[str, int]:
    """Return (job, attempt) of the id of a workflow or of one of its slices."""
    job_id, _, attempt = workflow.partition("-")[0].partition(".")
    return job_id, int(attempt or 1)


def system_url(settings: Settings) -> str:
    """Return the database URL of the engine's tables."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{sidecar_path(settings)}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def sidecar_path(settings: Settings) -> Path:
    """Return the file of the engine's tables beside an embedded store."""
    return settings.data_dir.resolve() / "jobs.sqlite"


def is_embedded(settings: Settings) -> bool:
    """Return whether the store is SQLite, and the engine's tables a file beside it."""
    return make_url(settings.url).get_backend_name() == "sqlite"


def prepare(settings: Settings) -> None:
    """Create the file beside an embedded store: readable by its owner only, with a WAL."""
    if not is_embedded(settings):
        return
    path = sidecar_path(settings)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


_clients: dict[str, DBOSClient] = {}


def _client(settings: Settings) -> DBOSClient:
    """Return the open client of this process for a store."""
    url = system_url(settings)
    if url not in _clients:
        _clients[url] = _new_client(url)
    return _clients[url]


def _new_client(url: str) -> DBOSClient:
    return DBOSClient(
        system_database_url=url,
        serializer=SERIALIZER,
        application_name=NAME,
        retry_connection_errors=False,
    )


def disconnect() -> None:
    """Close the clients of this process."""
    while _clients:
        _clients.popitem()[1].destroy()


def enqueue(settings: Settings, job_id: str, attempt: int, requires: str = "any") -> bool:
    """Enqueue the workflow of a job's attempt; repeating the call changes nothing.

    Args:
        settings: settings of the store.
        job_id: job to execute.
        attempt: number of the attempt, from 1.
        requires: "cuda" if only a worker with a GPU may execute the job.

    Returns:
        Whether the engine has the workflow. It does not before the first worker has created the
        engine's tables; that worker then enqueues the job from the job table.
    """
    if is_embedded(settings) and not sidecar_path(settings).is_file():
        return False
    try:
        _client(settings).enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": CUDA_JOBS if requires == "cuda" else JOBS,
                "workflow_id": workflow_id(job_id, attempt),
                "app_version": VERSION,
            },
            job_id,
            attempt,
        )
    except SQLAlchemyError:
        return False
    return True


def load_states(settings: Settings, workflow_ids: Sequence[str]) -> dict[str, str]:
    """Return the states of workflows by id, without unknown ones."""
    client, states = _client(settings), dict[str, str]()
    for start in range(0, len(workflow_ids), BATCH):
        batch = list(workflow_ids[start : start + BATCH])
        flows = client.list_workflows(workflow_ids=batch, load_output=False)
        states |= {flow.workflow_id: _state(flow) for flow in flows}
    return states


def _state(flow: WorkflowStatus) -> str:
    # DBOS returns arguments that it cannot read as text. It never executes such a row, which
    # would stay in the queue for ever.
    return str(flow.status) if isinstance(flow.input, dict) else "REFUSED"


def list_queued(settings: Settings) -> list[str]:
    """Return the ids of workflows that no worker has started."""
    queued = _client(settings).list_queued_workflows(
        status="ENQUEUED", load_input=False, load_output=False
    )
    return [flow.workflow_id for flow in queued]


def cancel(settings: Settings, workflow_ids: Sequence[str]) -> None:
    """Remove workflows that no worker has started from their queue."""
    if workflow_ids:
        _client(settings).cancel_workflows(list(workflow_ids))


def delete_ended(settings: Settings, job_ids: Sequence[str]) -> list[str]:
    """Delete the engine's rows of jobs; jobs with a workflow that has not ended keep theirs.

    Returns:
        Jobs that have no rows in the engine's tables any more.
    """
    if is_embedded(settings) and not sidecar_path(settings).is_file():
        return list(job_ids)
    client = _new_client(system_url(settings))
    try:
        return [job_id for job_id in job_ids if _delete_if_ended(client, job_id)]
    except (ProgrammingError, OperationalError) as error:
        if isinstance(error, OperationalError) and "no such table" not in str(error.orig):
            raise
        return list(job_ids)  # no worker has created the tables
    finally:
        client.destroy()


def _delete_if_ended(client: DBOSClient, job_id: str) -> bool:
    # The ids of further attempts and of slices begin with the job's.
    flows = client.list_workflows(workflow_ids=[job_id], load_output=False)
    prefixes = [f"{job_id}.", f"{job_id}-"]
    flows += client.list_workflows(workflow_id_prefix=prefixes, load_output=False)
    has_ended = all(_state(flow) in ENDED for flow in flows)
    if has_ended and flows:
        client.delete_workflows([flow.workflow_id for flow in flows])
    return has_ended
