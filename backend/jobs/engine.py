"""The durable engine behind jobs: the only module that names it.

Its system tables lie in `jobs.sqlite` beside an embedded store, or in a schema of their own of a
PostgreSQL store. Arguments are a job's id alone, as JSON; a row that asks for anything else to be
unpickled is refused.
"""

import os
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from dbos._serialization import DefaultSerializer
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import QuantaError
from backend.settings import Settings

NAME = "quanta"
# Raised only when the order of a workflow's steps changes: pending jobs of another version wait.
VERSION = "1"
QUEUE = "quanta-jobs"
WORKFLOW = "job"
POLL_SECONDS = 0.25
RECOVERIES = 5
DEAD = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "REFUSED"})
RETRIED: Any = {
    "retries_allowed": True,
    "max_attempts": 6,
    "interval_seconds": 0.5,
    # Its own errors a job answers itself; a database that is away comes back.
    "should_retry": lambda error: isinstance(error, SQLAlchemyError),
}
SERIALIZER = DBOSPortableJSONSerializer()


def _refused(_self: object, *_value: object) -> Any:
    raise TypeError("a pickled value in the job tables is never read; use portable JSON")


# Choosing JSON alone would still unpickle a row that says that it is pickled.
DefaultSerializer.deserialize = DefaultSerializer.serialize = _refused  # type: ignore[method-assign,assignment]


def system_url(settings: Settings) -> str:
    """Return the address of the engine's own tables."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{sidecar(settings)}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def sidecar(settings: Settings) -> Path:
    """Return the file that holds the engine's tables beside an embedded store."""
    return settings.data_dir.resolve() / "jobs.sqlite"


def _is_embedded(settings: Settings) -> bool:
    return make_url(settings.url).get_backend_name() == "sqlite"


def prepare(settings: Settings) -> None:
    """Create the sidecar file: readable by its owner alone, with a write-ahead log."""
    if not _is_embedded(settings):
        return
    path = sidecar(settings)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=30)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


@lru_cache(maxsize=4)
def _client(url: str) -> DBOSClient:
    return DBOSClient(
        system_database_url=url,
        serializer=SERIALIZER,
        application_name=NAME,
        retry_connection_errors=False,
    )


def enqueue(settings: Settings, job_id: str) -> bool:
    """Hand a job to the engine; asking twice changes nothing.

    Returns:
        Whether the engine has it. It has not while no worker ever made its tables: the first
        worker then takes the job from the job table.
    """
    if _is_embedded(settings) and not sidecar(settings).is_file():
        return False
    try:
        _client(system_url(settings)).enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": job_id,
                "app_version": VERSION,
            },
            job_id,
        )
    except SQLAlchemyError:
        return False
    return True


def state(settings: Settings, job_id: str) -> str | None:
    """Return what the engine says of a job, None if it does not know it.

    A row in another form than JSON is never executed, and would wait for ever: it is `REFUSED`.
    """
    row = _client(system_url(settings))._sys_db.get_workflow_status(job_id)
    if row is None:
        return None
    return str(row["status"]) if row["serialization"] == SERIALIZER.name() else "REFUSED"


Plan = Callable[[str], list[Any]]
Perform = Callable[[str, int, Any], bool]
Finish = Callable[[str], None]


def launch(
    settings: Settings, executor_id: str, plan: Plan, perform: Perform, finish: Finish
) -> None:
    """Start executing jobs in this process; what this executor left unfinished goes on.

    Args:
        settings: where the tables are.
        executor_id: stable name of this worker.
        plan: returns the units of a job as JSON, none if it cannot run.
        perform: computes and commits one unit unless it is stored; False ends the job.
        finish: notes that all units are done.
    """
    prepare(settings)
    config: DBOSConfig = {
        "name": NAME,
        "system_database_url": system_url(settings),
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": SERIALIZER,
        "log_level": "WARNING",
    }
    DBOS(config=config)

    @DBOS.step(name="plan", **RETRIED)
    def plan_step(job_id: str) -> list[Any]:
        return plan(job_id)

    @DBOS.step(name="unit", **RETRIED)
    def unit_step(job_id: str, number: int, unit: Any) -> bool:
        return perform(job_id, number, unit)

    @DBOS.step(name="finish", **RETRIED)
    def finish_step(job_id: str) -> None:
        finish(job_id)

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=RECOVERIES)
    def run_job(job_id: str) -> None:
        units = plan_step(job_id)
        for number, unit in enumerate(units):
            if not unit_step(job_id, number, unit):
                return
        if units:
            finish_step(job_id)

    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=POLL_SECONDS)


def recover(executor_id: str) -> int:
    """Take over what a dead executor left unfinished; return how many jobs that is."""
    return len(DBOS._recover_pending_workflows([executor_id]))


class WorkerEndedError(QuantaError):
    """The engine gave up a job: its worker died on it again and again."""

    def __init__(self, status: str) -> None:
        super().__init__(
            f"the job was given up ({status.lower().replace('_', ' ')})",
            "See quanta.log and the worker's messages, then ask again",
        )
