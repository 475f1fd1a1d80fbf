"""Progress of stages: the CLI draws bars, tests ignore it."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

# One line for every computed unit of work; units that are already stored are not logged.
WORK_LOG = logging.getLogger("quanta.work")


def log_work(folder: Path) -> None:
    """Append one line for every computed unit of work to `quanta.log` in the data directory."""
    handler = logging.FileHandler(folder / "quanta.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    for previous in WORK_LOG.handlers:
        previous.close()
    WORK_LOG.handlers = [handler]
    WORK_LOG.setLevel(logging.INFO)
    WORK_LOG.propagate = False


class Task(Protocol):
    """A progress bar."""

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""


class Progress(Protocol):
    """Receiver of progress."""

    def task(
        self, title: str, total: int, *, unit: str, done: int = 0
    ) -> AbstractContextManager[Task]:
        """Open a bar of `total` units, `done` of which are already stored."""

    def say(self, text: str) -> None:
        """Print one line."""


class _SilentTask:
    def advance(self, amount: int = 1) -> None:
        """Ignore."""


class Silent:
    """Progress that is not shown."""

    @contextmanager
    def task(self, title: str, total: int, *, unit: str, done: int = 0) -> Iterator[Task]:
        """Open no bar."""
        yield _SilentTask()

    def say(self, text: str) -> None:
        """Print nothing."""
