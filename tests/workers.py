"""Real worker processes, and what they have done."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.processes import ROOT, command, environment

SECONDS = 240.0


@contextmanager
def working(folder: Path, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process over a data directory; `extra` are settings."""
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            command("worker", "--with-parent"),
            env=environment(folder, **extra),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def work(folder: Path) -> list[str]:
    """Units of work that were computed, in order."""
    log = folder / "quanta.log"
    return [line.split(" ", 2)[2] for line in log.read_text().splitlines()] if log.exists() else []
