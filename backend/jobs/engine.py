"""The durable engine of a worker: executes the workflows of jobs.

DBOS dequeues workflows (atomically, with a limit for each worker and queue), stores the plan of a
job so that another worker continues it, waits between phases, and repeats steps while the database
is away. Liveness of workers, commits of units, cancellation and progress are ours: see `leases` and
`job_table`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowHandle, WorkflowStatus
from dbos import error as dbos_errors
from sqlalchemy import Engine as DatabaseEngine
from sqlalchemy import event
from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, CreateEnginePlugin, ExceptionContext
from sqlalchemy.exc import SQLAlchemyError

from backend.jobs import workflows
from backend.jobs.dbos_private import requeue, running_workflows
from backend.jobs.leases import LostLeaseError, exit_on_lost_lease
from backend.jobs.workflows import CUDA_JOBS, CUDA_SLICES, JOBS, SLICES, VERSION, workflow_id
from backend.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
JOB_CONCURRENCY = 8
# Slices of a job in the queue: enough for several workers, few to remove on a cancellation.
MAX_QUEUED_SLICES = 16
POLL_SECONDS = 0.25
# DBOS counts each end of a worker for each of its jobs, even an orderly shutdown.
# `job_table.MAX_CRASHES` fails a job that kills its workers long before.
MAX_RECOVERIES = 1000
RETRY_OPTIONS: Any = {
    "retries_allowed": True,
    # About four minutes; each pause is twice the one before.
    "max_attempts": 10,
    "interval_seconds": 0.5,
    # Jobs handle their own errors; an unavailable database comes back.
    "should_retry": lambda error: isinstance(error, SQLAlchemyError),
}
_PLUGIN = "quanta_lost_connections"


class LostConnections(CreateEnginePlugin):
    """Make SQLAlchemy report an unreachable PostgreSQL server as a lost connection.

    DBOS waits for lost connections. It recognizes few other messages of the driver, and would end
    a job on the rest.
    """

    def update_url(self, url: URL) -> URL:
        """Return the URL unchanged."""
        return url

    def engine_created(self, engine: DatabaseEngine) -> None:
        """Listen to the errors of an engine."""
        event.listen(engine, "handle_error", _mark_disconnect)


def _mark_disconnect(context: ExceptionContext) -> None:
    error = context.original_exception
    is_operational = type(error).__name__ == "OperationalError" and hasattr(error, "sqlstate")
    # Without a code of the server, the server was not reached.
    if is_operational and getattr(error, "sqlstate", None) is None:
        context.is_disconnect = True


plugins.register(_PLUGIN, __name__, LostConnections.__name__)


@dataclass(frozen=True)
class JobSteps:
    """Functions that the engine calls to execute jobs; arguments and results are small JSON.

    Attributes:
        plan: returns the queue of a job's slices and the phases of an attempt, each a list of
            slices; no phases if the attempt must not run.
        units: returns the units of a slice.
        perform: computes and commits one unit of (job, attempt) unless it is stored; returns False
            to end the slice.
        finish: marks a job as finished.
    """

    plan: Callable[[str, int], tuple[str, list[list[Any]]]]
    units: Callable[[Any], list[Any]]
    perform: Callable[[str, int, Any], bool]
    finish: Callable[[str], None]


def _exits_without_lease(step: Callable[P, R]) -> Callable[P, R]:
    """Return a step that ends this process if its lease is lost.

    DBOS would record the error as the step's outcome, and end a job that other workers continue.
    """

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return step(*args, **kwargs)
        except LostLeaseError as error:
            exit_on_lost_lease(error)

    return run


def _declare_workflows(steps: JobSteps) -> None:
    """Declare the workflows of jobs and of their slices."""

    @DBOS.step(name="plan", **RETRY_OPTIONS)
    @_exits_without_lease
    def plan_step(job_id: str, attempt: int) -> list[Any]:
        return list(steps.plan(job_id, attempt))

    @DBOS.step(name="unit", **RETRY_OPTIONS)
    @_exits_without_lease
    def unit_step(job_id: str, attempt: int, unit: Any) -> bool:
        return steps.perform(job_id, attempt, unit)

    @DBOS.step(name="finish", **RETRY_OPTIONS)
    @_exits_without_lease
    def finish_step(job_id: str) -> None:
        steps.finish(job_id)

    @DBOS.workflow(name=workflows.SLICE, max_recovery_attempts=MAX_RECOVERIES)
    def run_slice(job_id: str, attempt: int, slice_: Any) -> bool:
        return all(unit_step(job_id, attempt, unit) for unit in steps.units(slice_))

    @DBOS.workflow(name=workflows.WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)
    def run_job(job_id: str, attempt: int) -> None:
        queue, phases = plan_step(job_id, attempt)
        for number, slices in enumerate(phases):
            prefix = f"{workflow_id(job_id, attempt)}-{number}"
            if not _run_phase(run_slice, queue, prefix, [(job_id, attempt, s) for s in slices]):
                return
        if phases:
            finish_step(job_id)


def _run_phase(
    run_slice: Callable[[str, int, Any], bool],
    queue: str,
    prefix: str,
    slices: list[tuple[str, int, Any]],
) -> bool:
    """Enqueue the slices of a phase, a few at a time; return whether all were completed."""
    pending: deque[WorkflowHandle[bool]] = deque()
    is_completed = True
    for number, arguments in enumerate(slices):
        if len(pending) == MAX_QUEUED_SLICES:
            is_completed = _result(pending.popleft())
        if not is_completed:
            break
        with SetWorkflowID(f"{prefix}-{number}"):
            pending.append(DBOS.enqueue_workflow(queue, run_slice, *arguments))
    results = [_result(handle) for handle in pending]
    return is_completed and all(results)


def _result(handle: WorkflowHandle[bool]) -> bool:
    """Wait for a slice; a slice that was removed from its queue is not completed."""
    try:
        return handle.get_result(polling_interval_sec=POLL_SECONDS)
    except dbos_errors.DBOSAwaitedWorkflowCancelledError:
        return False


class Engine:
    """The running engine of this process, and recovery of workflows that nobody executes."""

    def __init__(self, dbos: DBOS, executor_id: str) -> None:
        self._dbos = dbos
        self._executor_id = executor_id
        self._orphans: set[str] = set()

    def list_executors(self) -> set[str]:
        """Return the workers that have started a job or a slice and not ended it."""
        return {flow.executor_id for flow in self._started() if flow.executor_id}

    def recover(self, executor_id: str) -> None:
        """Put everything that a dead worker has started back into the queues."""
        for flow in self._started(executor_id):
            requeue(self._dbos, flow.workflow_id, executor_id, flow.queue_name or JOBS)

    def requeue_orphans(self) -> None:
        """Put back what this worker has started and no thread executes any more.

        DBOS drops a workflow if it cannot write the outcome, and the job would be "running" for
        ever. A workflow is put back on the second call that misses it: one that was started a
        moment ago is not in the engine's list yet.
        """
        started = {flow.workflow_id: flow for flow in self._started(self._executor_id)}
        missing = set(started) - running_workflows(self._dbos)
        for name in missing & self._orphans:
            requeue(self._dbos, name, self._executor_id, started[name].queue_name or JOBS)
        self._orphans = missing

    def _started(self, executor_id: str | None = None) -> list[WorkflowStatus]:
        return DBOS.list_workflows(
            status="PENDING",
            executor_id=executor_id,
            app_version=VERSION,
            load_input=False,
            load_output=False,
        )


def launch(
    settings: Settings, executor_id: str, steps: JobSteps, *, has_cuda: bool = False
) -> Engine:
    """Start executing jobs in this process.

    Args:
        settings: settings of the store.
        executor_id: name of this worker, never used before.
        steps: functions that execute a job.
        has_cuda: whether to listen to the queues of jobs that need a GPU.
    """
    workflows.prepare(settings)
    config: DBOSConfig = {
        "name": workflows.NAME,
        "system_database_url": workflows.system_url(settings),
        "application_version": VERSION,
        "executor_id": executor_id,
        "serializer": workflows.SERIALIZER,
        "log_level": "WARNING",
        "db_engine_kwargs": {"plugins": [_PLUGIN]},
    }
    dbos = DBOS(config=config)
    _declare_workflows(steps)
    # Jobs only wait for their slices; slices are computed one at a time.
    queues = {JOBS: JOB_CONCURRENCY, SLICES: 1}
    if has_cuda:
        queues |= {CUDA_JOBS: JOB_CONCURRENCY, CUDA_SLICES: 1}
    DBOS.listen_queues(list(queues))
    DBOS.launch()
    for queue, concurrency in queues.items():
        DBOS.register_queue(
            queue, worker_concurrency=concurrency, polling_interval_sec=POLL_SECONDS
        )
    return Engine(dbos, executor_id)
