"""The durable engine behind jobs: the only module that names it.

Its system tables lie in `jobs.sqlite` beside an embedded store, or in a schema of their own of a
PostgreSQL store. Arguments are small JSON: a job's id, its attempt, a slice; a row that asks for
anything to be unpickled is refused.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetWorkflowID,
    WorkflowHandle,
)
from dbos import _sys_db as system_database
from dbos._dbos import _get_dbos_instance
from dbos._serialization import DefaultSerializer
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError

from backend.errors import QuantaError
from backend.jobs.leases import LostLeaseError, end_lost
from backend.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
NAME = "quanta"
# Raised only when the order of a workflow's steps changes: pending jobs of another version wait.
VERSION = "2"
QUEUE, SLICES, CUDA_SLICES = "quanta-jobs", "quanta-slices", "quanta-slices-cuda"
WORKFLOW, SLICE = "job", "slice"
JOBS_AT_ONCE = 8
# Slices of a job that wait in the queue: enough for a number of workers, few to drop.
AHEAD = 16
FLOWS_AT_ONCE = 500
POLL_SECONDS = 0.25
# Every end of a worker counts under each of its jobs, a machine's nightly end too. A task that ends
# processes ends the computing one, and its job after a few of those.
RECOVERIES = 1000
DEAD = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "REFUSED"})
ENDED = DEAD | {"SUCCESS"}
RETRIED: Any = {
    "retries_allowed": True,
    # About four minutes, each pause twice the one before.
    "max_attempts": 10,
    "interval_seconds": 0.5,
    # Its own errors a job answers itself; a database that is away comes back.
    "should_retry": lambda error: isinstance(error, SQLAlchemyError),
}
SERIALIZER = DBOSPortableJSONSerializer()


def _refused(_self: object, *_value: object) -> Any:
    raise TypeError("a pickled value in the job tables is never read; use portable JSON")


# Choosing JSON alone would still unpickle a row that says that it is pickled.
DefaultSerializer.deserialize = DefaultSerializer.serialize = _refused  # type: ignore[method-assign,assignment]

_known: Any = system_database
_is_known_to_pass = _known.retriable_postgres_exception


def _passes(error: Exception) -> bool:
    """Return whether the engine may wait for the database, and try again what failed."""
    if _is_known_to_pass(error):
        return True
    # Without a code of the server it was not reached. The engine knows some of the wordings, and
    # would end a job over the others.
    inner = error.orig if isinstance(error, DBAPIError) else None
    is_operational = type(inner).__name__ == "OperationalError" and hasattr(inner, "sqlstate")
    return is_operational and getattr(inner, "sqlstate", None) is None


_known.retriable_postgres_exception = _passes


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


_clients: dict[str, DBOSClient] = {}


def _client(url: str) -> DBOSClient:
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
    """Close what this process has open to ask for jobs."""
    while _clients:
        _clients.popitem()[1].destroy()


def enqueue(settings: Settings, job_id: str, attempt: int) -> bool:
    """Hand an attempt of a job to the engine; asking twice changes nothing.

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
                "workflow_id": flow_id(job_id, attempt),
                "app_version": VERSION,
            },
            job_id,
            attempt,
        )
    except SQLAlchemyError:
        return False
    return True


def state(settings: Settings, job_id: str, attempt: int) -> str | None:
    """Return what the engine says of an attempt of a job, None if it does not know it.

    A row in another form than JSON is never executed, and would wait for ever: it is `REFUSED`.
    """
    flow = flow_id(job_id, attempt)
    return states(settings, [flow]).get(flow)


def states(settings: Settings, flows: Sequence[str]) -> dict[str, str]:
    """Return what the engine says of workflows, by id, without those that it does not know."""
    return _statuses(_client(system_url(settings)), flows)


def _statuses(client: DBOSClient, flows: Sequence[str]) -> dict[str, str]:
    # One look for hundreds: a worker asks for all open jobs every two seconds.
    table, found = client._sys_db.tables.workflow_status, dict[str, str]()
    columns = (table.c.workflow_uuid, table.c.status, table.c.serialization)
    with client._sys_db.engine.connect() as connection:
        for first in range(0, len(flows), FLOWS_AT_ONCE):
            some = flows[first : first + FLOWS_AT_ONCE]
            for flow, status, form in connection.execute(
                select(*columns).where(table.c.workflow_uuid.in_(some))
            ):
                found[flow] = str(status) if form == SERIALIZER.name() else "REFUSED"
    return found


def forget(settings: Settings, job_ids: Sequence[str]) -> list[str]:
    """Delete the engine's own rows of jobs that it has ended.

    Returns:
        The jobs that it does not know, or no longer: one that it may still carry on is left.
    """
    if _is_embedded(settings) and not sidecar(settings).is_file():
        return list(job_ids)
    client = _new_client(system_url(settings))
    gone = []
    try:
        for job_id in job_ids:
            # Attempts and slices have names that begin with the job's.
            flows = [
                found.workflow_id
                for mark in (".", "-")
                for found in client.list_workflows(workflow_id_prefix=f"{job_id}{mark}")
            ]
            known = _statuses(client, [job_id, *flows])
            if all(state in ENDED for state in known.values()):
                for flow in known:
                    client.delete_workflow(flow)
                gone.append(job_id)
    except (ProgrammingError, OperationalError) as error:
        if isinstance(error, OperationalError) and "no such table" not in str(error.orig):
            raise
        return list(job_ids)  # no worker ever made its tables
    finally:
        client.destroy()
    return gone


@dataclass(frozen=True)
class Work:
    """What a worker does when the engine asks; everything that passes through is small JSON.

    Attributes:
        plan: returns the queue of a job's slices, and the phases of its attempt, each a list of
            slices; none if it is not to run.
        units: returns the units of a slice.
        perform: computes and commits one unit of (job, attempt) unless it is stored; False ends
            the slice.
        finish: notes that all units are done.
    """

    plan: Callable[[str], tuple[str, list[list[Any]]]]
    units: Callable[[Any], list[Any]]
    perform: Callable[[str, int, Any], bool]
    finish: Callable[[str], None]


def _leased(step: Callable[P, R]) -> Callable[P, R]:
    """Return a step that ends this process once it was given up.

    The engine would note the refusal as the step's outcome, and so end a job that others carry on.
    """

    @wraps(step)
    def run(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return step(*arguments, **named)
        except LostLeaseError as error:
            end_lost(error)

    return run


def _flows(work: Work) -> None:
    """Declare the workflows of jobs and of their slices."""

    @DBOS.step(name="plan", **RETRIED)
    @_leased
    def plan_step(job_id: str) -> list[Any]:
        return list(work.plan(job_id))

    @DBOS.step(name="unit", **RETRIED)
    @_leased
    def unit_step(job_id: str, attempt: int, unit: Any) -> bool:
        return work.perform(job_id, attempt, unit)

    @DBOS.step(name="finish", **RETRIED)
    @_leased
    def finish_step(job_id: str) -> None:
        work.finish(job_id)

    @DBOS.workflow(name=SLICE, max_recovery_attempts=RECOVERIES)
    def run_slice(job_id: str, attempt: int, slice_: Any) -> bool:
        return all(unit_step(job_id, attempt, unit) for unit in work.units(slice_))

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=RECOVERIES)
    def run_job(job_id: str, attempt: int) -> None:
        queue, phases = plan_step(job_id)
        for number, slices in enumerate(phases):
            first = f"{flow_id(job_id, attempt)}-{number}"
            if not _phase(run_slice, queue, first, [(job_id, attempt, one) for one in slices]):
                return
        if phases:
            finish_step(job_id)


def _phase(
    run_slice: Callable[[str, int, Any], bool],
    queue: str,
    name: str,
    slices: list[tuple[str, int, Any]],
) -> bool:
    """Queue the slices of a phase, some ahead of those at work; return whether all are done."""
    waiting: deque[WorkflowHandle[bool]] = deque()
    is_good = True
    for number, arguments in enumerate(slices):
        if len(waiting) == AHEAD:
            is_good = waiting.popleft().get_result(polling_interval_sec=POLL_SECONDS)
        if not is_good:
            break
        with SetWorkflowID(f"{name}-{number}"):
            waiting.append(DBOS.enqueue_workflow(queue, run_slice, *arguments))
    ends = [one.get_result(polling_interval_sec=POLL_SECONDS) for one in waiting]
    return is_good and all(ends)


def flow_id(job_id: str, attempt: int) -> str:
    """Return the id of the workflow of a job's attempt."""
    return job_id if attempt == 1 else f"{job_id}.{attempt}"


def launch(settings: Settings, executor_id: str, work: Work, *, has_cuda: bool = False) -> None:
    """Start executing jobs in this process.

    Args:
        settings: where the tables are.
        executor_id: name of this worker, which none had before.
        work: what to do.
        has_cuda: whether slices that need a GPU are taken too.
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
    _flows(work)
    slices = (SLICES, CUDA_SLICES) if has_cuda else (SLICES,)
    DBOS.listen_queues([QUEUE, *slices])
    DBOS.launch()
    # Jobs only wait for their slices; slices are computed one at a time.
    for queue, most in ((QUEUE, JOBS_AT_ONCE), *((name, 1) for name in slices)):
        DBOS.register_queue(queue, worker_concurrency=most, polling_interval_sec=POLL_SECONDS)


def holders() -> set[str]:
    """Return the workers that have begun a job or a slice and not ended it."""
    begun = DBOS.list_workflows(
        status="PENDING", app_version=VERSION, load_input=False, load_output=False
    )
    return {flow.executor_id for flow in begun if flow.executor_id}


_missed: set[str] = set()


def take_up_dropped(own: str) -> None:
    """Queue again what this worker has begun and its engine has let go.

    That happens where an outcome cannot be written: the job would be "running" for ever. Asked
    again and again; what is missed twice is queued, since what was begun just now is not yet known.
    """
    engine = _get_dbos_instance()
    begun = DBOS.list_workflows(
        status="PENDING", executor_id=own, app_version=VERSION, load_input=False, load_output=False
    )
    missed = {flow.workflow_id for flow in begun} - set(engine._active_workflows_set.activeList())
    for flow in missed & _missed:
        engine._sys_db.reenqueue_for_recovery(flow, [own], INTERNAL_QUEUE_NAME)
    _missed.clear()
    _missed.update(missed)


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
