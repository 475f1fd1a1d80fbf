"""A spawned child process for units of work, so that a crash or its memory ends only the child."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import Any

from backend.errors import QuantaError
from backend.stages import evaluate_worker

IDLE_SECONDS = 300.0


class ChildEndedError(QuantaError):
    """The child process ended during a unit."""

    def __init__(self) -> None:
        super().__init__(
            "the computing process ended unexpectedly (out of memory?)",
            "Resume the job; committed units stay",
        )


class Child:
    """At most one process, started on demand and ended when idle.

    Between units it keeps the libraries and the last model loaded.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._used_at = time.monotonic()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the child and return its result; one call at a time.

        Raises:
            ChildEndedError: the process ended during the call.
        """
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1,
                    mp_context=get_context("spawn"),
                    initializer=evaluate_worker.start,
                    initargs=(self._threads,),
                )
            try:
                return self._pool.submit(function, *args).result()
            except BrokenProcessPool as error:
                self._close()
                raise ChildEndedError from error
            finally:
                self._used_at = time.monotonic()

    def kill(self) -> None:
        """Kill the process; a running `call` raises."""
        for process in active_children():
            process.kill()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def close_if_idle(self) -> None:
        """End the process if it has been idle for a while."""
        if time.monotonic() - self._used_at > IDLE_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()
