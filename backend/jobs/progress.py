"""Progress of a unit, written to its job's row at most once a second."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from backend.jobs import job_log, job_table
from backend.progress import Task
from backend.store.database import Store

INTERVAL_SECONDS = 1.0


class JobProgress:
    """Progress of stages that run inside a job."""

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self._job_id = job_id
        self._written_at = -INTERVAL_SECONDS

    @contextmanager
    def task(self, title: str, total: int, *, unit: str, done: int = 0) -> Iterator[Task]:
        """Count `total` units, of which `done` are stored already."""
        yield _Counter(self, title, total, done)

    def say(self, text: str) -> None:
        """Add a line to the job's log."""
        if not self._store.is_writing:
            job_log.add(self._store, self._job_id, text)

    def update(self, activity: str, part: int, parts: int) -> None:
        """Write the progress unless that was done within the last second."""
        # A stage that reports inside its own transaction would deadlock with itself on SQLite.
        is_due = time.monotonic() - self._written_at >= INTERVAL_SECONDS
        if is_due and not self._store.is_writing:
            job_table.update_activity(self._store, self._job_id, activity, part, parts)
            self._written_at = time.monotonic()


class _Counter:
    def __init__(self, progress: JobProgress, title: str, total: int, done: int) -> None:
        self._progress, self._title, self._total, self._done = progress, title, total, done
        progress.update(title, done, total)

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""
        self._done += amount
        self._progress.update(self._title, self._done, self._total)
