"""How a stage reports progress; the CLI draws it, tests ignore it."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

# One line for every unit of work that is computed (not merely found stored).
WORK_LOG = logging.getLogger("quanta.work")


def log_work(folder: Path) -> None:
    """Append one line for every computed unit of work to `quanta.log` in the data directory."""
    handler = logging.FileHandler(folder / "quanta.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for former in WORK_LOG.handlers:
        former.close()
    WORK_LOG.handlers = [handler]
    WORK_LOG.setLevel(logging.INFO)
    WORK_LOG.propagate = False


class Task(Protocol):
    """One bar."""

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""


class Progress(Protocol):
    """A place to report to."""

    def task(
        self, title: str, total: int, *, unit: str, done: int = 0
    ) -> AbstractContextManager[Task]:
        """Open a bar of `total` units, `done` of which were stored before."""

    def say(self, text: str) -> None:
        """Print one line."""


class _SilentTask:
    def advance(self, amount: int = 1) -> None:
        """Ignore."""


class Silent:
    """Progress that nobody sees."""

    @contextmanager
    def task(self, title: str, total: int, *, unit: str, done: int = 0) -> Iterator[Task]:
        """Open no bar."""
        yield _SilentTask()

    def say(self, text: str) -> None:
        """Print nothing."""
