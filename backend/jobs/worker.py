"""The worker: executes jobs until it is told to end; what it leaves is taken up again."""

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
# A child that is killed may have been killed by chance, or for its memory.
BATCH_SHARES = (1.0, 1.0, 1.0, 0.5, 0.25)
_log = logging.getLogger("quanta.jobs")


class Worker:
    """The steps of jobs over one store, under a lease."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.has_cuda = has_cuda(store.settings)
        self.id = leases.register_worker(store, "cuda" if self.has_cuda else "cpu")
        store.fence = leases.make_fence(self.id)
        self.child = Child()
        self._settings = store.settings.model_dump_json()
        # The job whose unit the child computes.
        self._current: str | None = None
        self._one = threading.Lock()

    def plan(self, job_id: str, attempt: int) -> tuple[str, list[list[Any]]]:
        """Return a job's queue and phases and note that it runs; none if it is not to."""
        if not job_table.start_attempt(self.store, job_id, attempt, self.id):
            return engine.SLICES, []
        job = job_table.get_job(self.store, job_id)
        try:
            n_workers = leases.n_live_workers(self.store, job.requires)
            plan = unit_runner.plan(self.store, job.kind, job.parameters, n_workers)
        except QuantaError as error:
            job_table.fail(self.store, job_id, error)
            return engine.SLICES, []
        job_table.set_units(self.store, job_id, {json.dumps(unit) for unit in plan.units()})
        queue = engine.CUDA_SLICES if job.requires == "cuda" else engine.SLICES
        return queue, plan.phases

    def perform(self, job_id: str, attempt: int, unit: Any) -> bool:
        """Do one unit; False if the job is not to go on."""
        with self._one:  # a worker with a GPU takes from two queues
            if not job_table.start_unit(self.store, job_id, attempt, self.id):
                return False
            self._current = job_id
            try:
                name = json.dumps(unit)
                return job_table.is_unit_completed(self.store, job_id, name) or self._compute(
                    job_id, unit, name
                )
            finally:
                self._current = None
                job_table.release_unit(self.store, job_id, self.id)

    def _compute(self, job_id: str, unit: Any, name: str) -> bool:
        """Compute a unit in the child; on an error that would come again, note it."""
        job, began = job_table.get_job(self.store, job_id), time.monotonic()
        what = (self.id, job_id, job.kind, job.parameters, unit)
        try:
            made, failure, is_stored = self._called(job_id, what)
            if failure is not None:
                raise QuantaError(*failure)
        except QuantaError as error:
            if job_table.is_running(self.store, job_id):  # or the child was ended on purpose
                job_table.fail(self.store, job_id, error)
            return False
        except (ValueError, TypeError, LookupError, AssertionError, OSError) as error:
            _log.exception("job %s, unit %s", job_id, unit)
            job_table.fail(self.store, job_id, _unexpected(error))
            return False
        seconds = time.monotonic() - began
        done = job_table.CompletedUnit(name, self.id, seconds, is_stored)
        job_table.complete_unit(self.store, job_id, done, made)
        return True

    def _called(self, job_id: str, what: tuple[Any, ...]) -> Any:
        """Return what the child does of a unit, again with smaller batches if it was killed."""
        for share in BATCH_SHARES:
            try:
                return self.child.call(unit_runner.perform, self._settings, *what, share)
            except ChildEndedError as error:
                if share == BATCH_SHARES[-1] or not job_table.is_running(self.store, job_id):
                    raise
                job_log.add(self.store, job_id, f"{error.problem}; unit {what[-1]} begins again")
        raise AssertionError(BATCH_SHARES)

    def finish(self, job_id: str) -> None:
        """Note that a job is done."""
        job = job_table.get_job(self.store, job_id)
        job_table.finish(self.store, job_id, unit_runner.result(job.kind, job.parameters))

    def watch(self) -> None:
        """End the child if what it computes is not wanted any more."""
        job_id = self._current
        if job_id and not job_table.is_running(self.store, job_id) and self._current == job_id:
            self.child.kill()

    def sweep(self) -> None:
        """Bring job table and engine together, and take over from workers that have ended."""
        self._meet()
        lost = leases.expire_leases(self.store, self.id)
        # In this order: who holds something now had its lease before. One that was stopped may have
        # begun something after it was given up.
        for name in engine.list_executors() - leases.live_workers(self.store):
            _log.warning("worker %s has ended; its jobs go on here", name)
            engine.recover_executor(name)
        engine.requeue_orphans(self.id)
        leases.retire_workers(self.store, lost)
        job_table.finish_cancellations(self.store)
        self.child.close_if_idle()

    def _meet(self) -> None:
        settings = self.store.settings
        # In this order: what waits now was written down before.
        waiting = engine.list_queued_workflows(settings)
        jobs = job_table.list_open_jobs(self.store)
        names = [workflows.flow_id(job.id, job.attempt) for job in jobs]
        known = engine.workflow_states(settings, names)
        for job, flow in zip(jobs, names, strict=True):
            status = known.get(flow)
            if status is None:  # asked for before there was a worker, or the server died between
                engine.enqueue(settings, job.id, job.attempt, job.requires)
            elif status in workflows.ENDED and job.state != "cancelling":
                # Its end is noted before the engine's: one that is open even now will stay so.
                error = engine.AbandonedJobError(status)
                job_table.fail_attempt(self.store, job.id, job.attempt, error)
        wanted = {(job.id, job.attempt) for job in jobs if job.state != "cancelling"}
        # What nobody wants any more would keep a place, or wait for a worker that never comes.
        engine.cancel_workflows(
            settings, [flow for flow in waiting if workflows.attempt_of(flow) not in wanted]
        )


def _unexpected(error: Exception) -> QuantaError:
    return QuantaError(
        f"the job's own code failed ({type(error).__name__})",
        "The worker's messages say where; ask again after repairing that",
    )


def _end_with_parent() -> None:
    # The parent holds the other end and never writes: a read returns when it has ended.
    sys.stdin.buffer.read()
    os._exit(0)


def _repeat(what: Callable[[], None], seconds: float, ended: threading.Event) -> None:
    """Do something again and again; without a lease nothing can be done, and the process ends."""
    while not ended.wait(seconds):
        try:
            what()
        except leases.LostLeaseError as error:
            leases.exit_on_lost_lease(error)
        except Exception:  # a database that is away comes back; the next time does what is left
            _log.exception(getattr(what, "__name__", "beat"))


def run(store: Store, *, with_parent: bool = False) -> None:
    """Execute jobs until a signal; does not return.

    Args:
        store: whose jobs.
        with_parent: end when standard input does.
    """
    worker = Worker(store)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    does = engine.JobSteps(worker.plan, slice_units, worker.perform, worker.finish)
    engine.launch(store.settings, worker.id, does, has_cuda=worker.has_cuda)
    for what, seconds in (
        (partial(leases.renew_lease, store, worker.id), leases.RENEW_SECONDS),
        (worker.watch, WATCH_SECONDS),
    ):
        threading.Thread(target=_repeat, args=(what, seconds, ended), daemon=True).start()
    _repeat(worker.sweep, SWEEP_SECONDS, ended)
    # Waiting for a running step could take minutes; its child ends with this process, and others
    # go on from the last committed unit.
    with suppress(SQLAlchemyError):
        leases.release_lease(store, worker.id)
    for process in active_children():
        process.kill()
    os._exit(0)
