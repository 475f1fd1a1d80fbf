"""A spawned child process for heavy steps: its memory and its crashes are its own."""

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
    """The computing process ended in the middle of a unit."""

    def __init__(self) -> None:
        super().__init__(
            "the computing process ended unexpectedly (out of memory?)",
            "Resume the job: what was finished is kept",
        )


class Child:
    """At most one process, started when it is needed and ended when it has been idle.

    Keeping it between steps keeps the libraries, and the last model, loaded.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._used = time.monotonic()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what `function` returns in the child; one call at a time.

        Raises:
            ChildEndedError: the process ended in the middle.
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
                return self._pool.submit(function, *arguments).result()
            except BrokenProcessPool as error:
                self._close()
                raise ChildEndedError from error
            finally:
                self._used = time.monotonic()

    def kill(self) -> None:
        """End the process in the middle of what it does; `call` then raises."""
        for process in active_children():
            process.kill()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def close_if_idle(self) -> None:
        """End the process if nothing has used it for a while."""
        if time.monotonic() - self._used > IDLE_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()
