"""The worker process: executes jobs under a lease, and continues those of dead workers."""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from backend.errors import QuantaError
from backend.jobs import engine, job_log, job_table, leases, unit_runner, workflows
from backend.jobs.child_process import Child, ChildEndedError
from backend.jobs.devices import has_cuda
from backend.jobs.kinds.plans import slice_units
from backend.store.database import Store

SWEEP_SECONDS, WATCH_SECONDS = 2.0, 0.25
# Batch sizes of the attempts at a unit: a child may be killed by chance or for its memory.
BATCH_SHARES = (1.0, 1.0, 1.0, 0.5, 0.25)
_log = logging.getLogger("quanta.jobs")


class AbandonedJobError(QuantaError):
    """The engine ended a job that is still open in the job table."""

    def __init__(self, status: str) -> None:
        reason = "no result" if status == "SUCCESS" else status.lower().replace("_", " ")
        super().__init__(
            f"the engine gave up the job ({reason})",
            "See quanta.log and the worker's messages, then submit it again",
        )


class Worker:
    """The steps of jobs over one store, under a lease."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.has_cuda = has_cuda(store.settings)
        self.id = leases.register_worker(store, "cuda" if self.has_cuda else "cpu")
        store.fence = leases.make_fence(self.id)
        self.child = Child()
        self._settings = store.settings.model_dump_json()
        # The job of the unit that the child computes.
        self._current_job: str | None = None
        self._unit_lock = threading.Lock()

    def plan(self, job_id: str, attempt: int) -> tuple[str, list[list[Any]]]:
        """Return a job's queue and phases and mark it as running; no phases if it must not run."""
        if not job_table.start_attempt(self.store, job_id, attempt, self.id):
            return workflows.SLICES, []
        job = job_table.get_job(self.store, job_id)
        try:
            n_workers = leases.n_live_workers(self.store, job.requires)
            plan = unit_runner.plan(self.store, job.kind, job.parameters, n_workers)
        except QuantaError as error:
            job_table.fail(self.store, job_id, error)
            return workflows.SLICES, []
        job_table.set_units(self.store, job_id, {json.dumps(unit) for unit in plan.units()})
        queue = workflows.CUDA_SLICES if job.requires == "cuda" else workflows.SLICES
        return queue, plan.phases

    def perform(self, job_id: str, attempt: int, unit: Any) -> bool:
        """Compute one unit; return False if the job must not continue."""
        with self._unit_lock:  # a worker with a GPU listens to two queues
            if not job_table.start_unit(self.store, job_id, attempt, self.id):
                return False
            self._current_job = job_id
            try:
                name = json.dumps(unit)
                if job_table.is_unit_completed(self.store, job_id, name):
                    return True
                return self._compute(job_id, unit, name)
            finally:
                self._current_job = None
                job_table.release_unit(self.store, job_id, self.id)

    def _compute(self, job_id: str, unit: Any, name: str) -> bool:
        """Compute a unit in the child; fail the job on an error that a retry would repeat."""
        started = time.monotonic()
        try:
            result, failure, is_stored = self._call_child(job_id, unit)
            if failure is not None:
                raise QuantaError(*failure)
        except QuantaError as error:
            # A cancelled job ends its child on purpose.
            if job_table.is_running(self.store, job_id):
                job_table.fail(self.store, job_id, error)
            return False
        except (ValueError, TypeError, LookupError, AssertionError, OSError) as error:
            _log.exception("job %s, unit %s", job_id, unit)
            job_table.fail(self.store, job_id, _unexpected(error))
            return False
        seconds = time.monotonic() - started
        completed = job_table.CompletedUnit(name, self.id, seconds, is_stored)
        job_table.complete_unit(self.store, job_id, completed, result)
        return True

    def _call_child(self, job_id: str, unit: Any) -> Any:
        """Compute a unit in the child, with smaller batches if the child was killed."""
        for share in BATCH_SHARES:
            try:
                args = (self._settings, self.id, job_id, unit, share)
                return self.child.call(unit_runner.perform, *args)
            except ChildEndedError as error:
                if share == BATCH_SHARES[-1] or not job_table.is_running(self.store, job_id):
                    raise
                job_log.add(self.store, job_id, f"{error.problem}; retrying unit {unit}")
        raise AssertionError(BATCH_SHARES)

    def finish(self, job_id: str) -> None:
        """Mark a job as finished."""
        job = job_table.get_job(self.store, job_id)
        job_table.finish(self.store, job_id, unit_runner.result(job.kind, job.parameters))

    def watch(self) -> None:
        """End the child if it computes for a job that was cancelled."""
        job_id = self._current_job
        if job_id and not job_table.is_running(self.store, job_id) and self._current_job == job_id:
            self.child.kill()

    def sweep(self, running: engine.Engine) -> None:
        """Reconcile the job table with the engine, and recover the jobs of dead workers."""
        self._reconcile()
        expired = leases.expire_leases(self.store, self.id)
        # Executors first: each one listed had a lease by then. A worker that was suspended may
        # have started something after its lease expired.
        for name in running.list_executors() - leases.live_workers(self.store):
            _log.warning("worker %s has ended; its jobs continue here", name)
            running.recover(name)
        running.requeue_orphans()
        leases.retire_workers(self.store, expired)
        job_table.finish_cancellations(self.store)
        self.child.close_if_idle()

    def _reconcile(self) -> None:
        settings = self.store.settings
        # Workflows first: each queued one has a row in the job table by then.
        queued = workflows.list_queued(settings)
        jobs = job_table.list_open_jobs(self.store)
        ids = [workflows.workflow_id(job.id, job.attempt) for job in jobs]
        states = workflows.load_states(settings, ids)
        for job, workflow in zip(jobs, ids, strict=True):
            state = states.get(workflow)
            if state is None:  # submitted before the first worker, or the server died in between
                workflows.enqueue(settings, job.id, job.attempt, job.requires)
            elif state in workflows.ENDED and job.state != "cancelling":
                # The job table is written before the engine's outcome: it will not change again.
                job_table.fail(self.store, job.id, AbandonedJobError(state), job.attempt)
        running = {(job.id, job.attempt) for job in jobs if job.state != "cancelling"}
        # Workflows of ended jobs would occupy the queue, or wait for a worker that never comes.
        workflows.cancel(settings, [w for w in queued if workflows.attempt_of(w) not in running])


def _unexpected(error: Exception) -> QuantaError:
    return QuantaError(
        f"the job's own code failed ({type(error).__name__})",
        "See the worker's messages; submit the job again after the repair",
    )


def _exit_with_parent() -> None:
    # The parent holds the other end and never writes: the read returns when it ends.
    sys.stdin.buffer.read()
    os._exit(0)


def _run_periodically(task: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    """Call a function repeatedly; end the process if its lease is lost."""
    while not stop.wait(seconds):
        try:
            task()
        except leases.LostLeaseError as error:
            leases.exit_on_lost_lease(error)
        except Exception:  # the database may be away; the next call does the rest
            _log.exception("%s", task)


def run(store: Store, *, with_parent: bool = False) -> None:
    """Execute jobs until a signal; does not return.

    Args:
        store: store of the jobs.
        with_parent: end when standard input ends.
    """
    worker = Worker(store)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if with_parent:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    steps = engine.JobSteps(worker.plan, slice_units, worker.perform, worker.finish)
    running = engine.launch(store.settings, worker.id, steps, has_cuda=worker.has_cuda)
    for task, seconds in (
        (partial(leases.renew_lease, store, worker.id), leases.RENEW_SECONDS),
        (worker.watch, WATCH_SECONDS),
    ):
        threading.Thread(target=_run_periodically, args=(task, seconds, stop), daemon=True).start()
    _run_periodically(partial(worker.sweep, running), SWEEP_SECONDS, stop)
    # Waiting for a running step could take minutes. Its child ends with this process, and other
    # workers continue from the last committed unit.
    with suppress(SQLAlchemyError):
        leases.release_lease(store, worker.id)
    for process in active_children():
        process.kill()
    os._exit(0)
