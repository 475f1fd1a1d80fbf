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
from dbos._error import DBOSAwaitedWorkflowCancelledError
from dbos._serialization import DefaultSerializer
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError

from backend.errors import QuantaError
from backend.jobs import workflows
from backend.jobs.leases import LostLeaseError, exit_on_lost_lease
from backend.jobs.workflows import flow_id
from backend.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
NAME = "quanta"
# Raised only when the order of a workflow's steps changes: pending jobs of another version wait.
VERSION = "2"
# Workers without a GPU take nothing from the latter two: what waits there keeps nobody busy.
JOBS, SLICES, CUDA_JOBS, CUDA_SLICES = (
    *("quanta-jobs", "quanta-slices"),
    *("quanta-jobs-cuda", "quanta-slices-cuda"),
)
WORKFLOW, SLICE = "job", "slice"
JOB_CONCURRENCY = 8
# Slices of a job that wait in the queue: enough for a number of workers, few to drop.
MAX_QUEUED_SLICES = 16
POLL_SECONDS = 0.25
# The engine counts every end of a worker under each of its jobs, a machine's nightly end too. What
# ends worker after worker is found by `job_table.MAX_CRASHES` long before.
MAX_RECOVERIES = 1000
RETRY_OPTIONS: Any = {
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
        return f"sqlite:///{sidecar_path(settings)}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def sidecar_path(settings: Settings) -> Path:
    """Return the file that holds the engine's tables beside an embedded store."""
    return settings.data_dir.resolve() / "jobs.sqlite"


def _is_embedded(settings: Settings) -> bool:
    return make_url(settings.url).get_backend_name() == "sqlite"


def prepare(settings: Settings) -> None:
    """Create the sidecar file: readable by its owner alone, with a write-ahead log."""
    if not _is_embedded(settings):
        return
    path = sidecar_path(settings)
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


def enqueue(settings: Settings, job_id: str, attempt: int, requires: str = "any") -> bool:
    """Hand an attempt of a job to the engine; asking twice changes nothing.

    Args:
        settings: where the tables are.
        job_id: which job.
        attempt: of how many begun ones this is.
        requires: "cuda" if only a worker with a GPU may begin it.

    Returns:
        Whether the engine has it. It has not while no worker ever made its tables: the first
        worker then takes the job from the job table.
    """
    if _is_embedded(settings) and not sidecar_path(settings).is_file():
        return False
    try:
        _client(system_url(settings)).enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": CUDA_JOBS if requires == "cuda" else JOBS,
                "workflow_id": flow_id(job_id, attempt),
                "app_version": VERSION,
            },
            job_id,
            attempt,
        )
    except SQLAlchemyError:
        return False
    return True


def workflow_state(settings: Settings, job_id: str, attempt: int) -> str | None:
    """Return what the engine says of an attempt of a job, None if it does not know it.

    A row in another form than JSON is never executed, and would wait for ever: it is `REFUSED`.
    """
    flow = flow_id(job_id, attempt)
    return workflow_states(settings, [flow]).get(flow)


def workflow_states(settings: Settings, names: Sequence[str]) -> dict[str, str]:
    """Return what the engine says of workflows, by id, without those that it does not know."""
    return workflows.load_statuses(_client(system_url(settings)), SERIALIZER.name(), names)


def cancel_workflows(settings: Settings, names: Sequence[str]) -> None:
    """Take workflows that nobody has begun out of their queue."""
    client = _client(system_url(settings))
    for flow in names:
        client.cancel_workflow(flow)


def list_queued_workflows(settings: Settings) -> list[str]:
    """Return the workflows that nobody has begun."""
    return workflows.list_queued(_client(system_url(settings)))


def delete_workflows(settings: Settings, job_ids: Sequence[str]) -> list[str]:
    """Delete the engine's own rows of jobs that it has ended.

    Returns:
        The jobs that it does not know, or no longer: one that it may still carry on is left.
    """
    if _is_embedded(settings) and not sidecar_path(settings).is_file():
        return list(job_ids)
    client = _new_client(system_url(settings))
    try:
        return workflows.delete_ended(client, SERIALIZER.name(), job_ids)
    except (ProgrammingError, OperationalError) as error:
        if isinstance(error, OperationalError) and "no such table" not in str(error.orig):
            raise
        return list(job_ids)  # no worker ever made its tables
    finally:
        client.destroy()


@dataclass(frozen=True)
class JobSteps:
    """What a worker does when the engine asks; everything that passes through is small JSON.

    Attributes:
        plan: returns the queue of a job's slices, and the phases of its attempt, each a list of
            slices; none if the attempt is not to run.
        units: returns the units of a slice.
        perform: computes and commits one unit of (job, attempt) unless it is stored; False ends
            the slice.
        finish: notes that all units are done.
    """

    plan: Callable[[str, int], tuple[str, list[list[Any]]]]
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
            exit_on_lost_lease(error)

    return run


def _flows(work: JobSteps) -> None:
    """Declare the workflows of jobs and of their slices."""

    @DBOS.step(name="plan", **RETRY_OPTIONS)
    @_leased
    def plan_step(job_id: str, attempt: int) -> list[Any]:
        return list(work.plan(job_id, attempt))

    @DBOS.step(name="unit", **RETRY_OPTIONS)
    @_leased
    def unit_step(job_id: str, attempt: int, unit: Any) -> bool:
        return work.perform(job_id, attempt, unit)

    @DBOS.step(name="finish", **RETRY_OPTIONS)
    @_leased
    def finish_step(job_id: str) -> None:
        work.finish(job_id)

    @DBOS.workflow(name=SLICE, max_recovery_attempts=MAX_RECOVERIES)
    def run_slice(job_id: str, attempt: int, slice_: Any) -> bool:
        return all(unit_step(job_id, attempt, unit) for unit in work.units(slice_))

    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)
    def run_job(job_id: str, attempt: int) -> None:
        queue, phases = plan_step(job_id, attempt)
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
        if len(waiting) == MAX_QUEUED_SLICES:
            is_good = _outcome(waiting.popleft())
        if not is_good:
            break
        with SetWorkflowID(f"{name}-{number}"):
            waiting.append(DBOS.enqueue_workflow(queue, run_slice, *arguments))
    ends = [_outcome(one) for one in waiting]
    return is_good and all(ends)


def _outcome(slice_: WorkflowHandle[bool]) -> bool:
    """Wait for a slice; one that was taken out of its queue is not done."""
    try:
        return slice_.get_result(polling_interval_sec=POLL_SECONDS)
    except DBOSAwaitedWorkflowCancelledError:
        return False


def launch(settings: Settings, executor_id: str, work: JobSteps, *, has_cuda: bool = False) -> None:
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
    # Jobs only wait for their slices; slices are computed one at a time.
    queues = {JOBS: JOB_CONCURRENCY, SLICES: 1}
    if has_cuda:
        queues |= {CUDA_JOBS: JOB_CONCURRENCY, CUDA_SLICES: 1}
    DBOS.listen_queues(list(queues))
    DBOS.launch()
    for queue, most in queues.items():
        DBOS.register_queue(queue, worker_concurrency=most, polling_interval_sec=POLL_SECONDS)


def list_executors() -> set[str]:
    """Return the workers that have begun a job or a slice and not ended it."""
    begun = DBOS.list_workflows(
        status="PENDING", app_version=VERSION, load_input=False, load_output=False
    )
    return {flow.executor_id for flow in begun if flow.executor_id}


_missed: set[str] = set()


def requeue_orphans(own: str) -> None:
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


def recover_executor(executor_id: str) -> int:
    """Take over what a dead executor left unfinished; return how many jobs that is."""
    return len(DBOS._recover_pending_workflows([executor_id]))


class AbandonedJobError(QuantaError):
    """The engine gave up a job: its worker died on it again and again."""

    def __init__(self, status: str) -> None:
        words = "no result" if status == "SUCCESS" else status.lower().replace("_", " ")
        super().__init__(
            f"the job was given up ({words})",
            "See quanta.log and the worker's messages, then ask again",
        )
