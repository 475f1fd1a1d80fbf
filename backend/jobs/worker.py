"""The worker: executes jobs until it is told to end; what it leaves is taken up again."""

import logging
import os
import signal
import sys
import threading
from typing import Any

from backend.db import Store
from backend.errors import QuantaError
from backend.jobs import board, engine, slots, steps
from backend.jobs.child import Child

SWEEP_SECONDS = 2.0
_log = logging.getLogger("quanta.jobs")


class Worker:
    """The steps of jobs over one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.child = Child()
        self._settings = store.settings.model_dump_json()

    def plan(self, job_id: str) -> list[Any]:
        """Return a job's units and note that it runs."""
        job = board.job(self.store, job_id)
        units = steps.plan(job.kind, job.parameters)
        board.begin(self.store, job_id, len(units))
        return units

    def perform(self, job_id: str, number: int, unit: Any) -> bool:
        """Do one unit; on an error that would come again, note it and return False."""
        job = board.job(self.store, job_id)
        try:
            failure = self.child.call(steps.perform, self._settings, job.kind, job.parameters, unit)
            if failure is not None:
                raise QuantaError(*failure)
        except QuantaError as error:
            board.fail(self.store, job_id, error)
            return False
        except (ValueError, TypeError, LookupError, AssertionError, OSError) as error:
            _log.exception("job %s, unit %s", job_id, unit)
            board.fail(self.store, job_id, _unexpected(error))
            return False
        board.advance(self.store, job_id, number + 1)
        return True

    def finish(self, job_id: str) -> None:
        """Note that a job is done."""
        job = board.job(self.store, job_id)
        board.finish(self.store, job_id, steps.result(job.kind, job.parameters))

    def sweep(self, slot: slots.Slot) -> None:
        """Bring job table and engine together, and take over from workers that have ended."""
        for job_id in board.open_jobs(self.store):
            status = engine.state(self.store.settings, job_id)
            if status is None:  # asked for before there was a worker, or the server died between
                engine.enqueue(self.store.settings, job_id)
            elif status in engine.DEAD:
                board.fail(self.store, job_id, engine.WorkerEndedError(status))
        with slot.abandoned() as names:
            for name in names:
                engine.recover(name)
        self.child.close_if_idle()


def _unexpected(error: Exception) -> QuantaError:
    return QuantaError(
        f"the job's own code failed ({type(error).__name__})",
        "The worker's messages say where; ask again after repairing that",
    )


def _end_with_parent() -> None:
    # The parent holds the other end and never writes: a read returns when it has ended.
    sys.stdin.buffer.read()
    os._exit(0)


def run(store: Store, device: str, *, with_parent: bool = False) -> None:
    """Execute jobs until a signal; does not return.

    Args:
        store: whose jobs.
        device: "cpu" or "cuda"; part of the worker's name.
        with_parent: end when standard input does.

    Raises:
        QuantaError: too many workers run already.
    """
    slot = slots.take(store.settings.data_dir, device)
    worker = Worker(store)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    engine.launch(store.settings, slot.executor_id, worker.plan, worker.perform, worker.finish)
    while not ended.wait(SWEEP_SECONDS):
        try:
            worker.sweep(slot)
        except Exception:  # a database that is away comes back; the next sweep does what is left
            _log.exception("sweep")
    # Waiting for a running step could take minutes; its child ends with this process, and the
    # next worker of this name goes on from the last committed unit.
    os._exit(0)
