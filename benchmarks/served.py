"""A real `quanta serve` over a copy of a data directory: its processes, memory and cores."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.latency import free_port

HOST = "127.0.0.1"
STARTING_SECONDS = 240.0


@dataclass
class Server:
    """A running `quanta serve` and its worker."""

    port: int
    process: psutil.Process
    peak_mb: float = 0.0

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of an answer."""
        headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "none"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def workers(self) -> list[psutil.Process]:
        """Return the worker and its processes."""
        own = [child for child in self.process.children() if "worker" in child.cmdline()]
        return [*own, *(below for child in own for below in child.children(recursive=True))]

    def servers(self) -> list[psutil.Process]:
        """Return all other processes."""
        working = self.workers()
        below = [p for p in self.process.children(recursive=True) if p not in working]
        return [self.process, *below]

    def sample_memory(self) -> None:
        """Note the memory that the server takes now."""
        with suppress(psutil.NoSuchProcess):
            taken = sum(process.memory_info().rss for process in self.servers())
            self.peak_mb = max(self.peak_mb, taken / 1e6)


def copied(source: Path, folder: Path) -> Path:
    """Copy a data directory, in use or not, and return the copy."""
    database = source / "quanta.sqlite"
    if not database.is_file():
        sys.exit(f"error: there is no store in {source}.\nRun `quanta demo`, or name its folder.")
    folder.mkdir()
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(folder / database.name)) as new,
    ):
        old.backup(new)
    if (source / "cache").is_dir():
        shutil.copytree(source / "cache", folder / "cache")
    return folder


def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait until something is true."""
    end = time.monotonic() + STARTING_SECONDS
    while not is_true():
        if time.monotonic() > end:
            sys.exit(f"error: {what} after {STARTING_SECONDS:.0f} s.")
        time.sleep(0.1)


@contextmanager
def server(folder: Path, options: Sequence[str]) -> Iterator[Server]:
    """Run `quanta serve` over a data directory, with its worker."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("QUANTA_")}
    environment |= {"QUANTA_DATA_DIR": str(folder), "QUANTA_DEVICE": "cpu"}
    port = free_port()
    run = [sys.executable, "-m", "backend.cli"]
    subprocess.run([*run, "db", "upgrade"], env=environment, check=True, capture_output=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*run, "serve", "--host", HOST, "--port", str(port), *options],
            env=environment,
            stderr=log,
        )
    running = Server(port, psutil.Process(process.pid))

    def is_ready() -> bool:
        if process.poll() is not None:
            sys.exit(f"error: the server ended:\n{(folder / 'server.log').read_text()[-2000:]}")
        with suppress(urllib.error.URLError, ConnectionError):
            return running.ask("/readyz")["status"] == "ready" and bool(running.workers())
        return False

    try:
        until(is_ready, "the server is not ready")
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _pin(processes: Sequence[psutil.Process], core: int) -> None:
    """Keep processes on one core, with all threads that they have or will have."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})


def place(running: Server) -> str:
    """Give the worker a core of its own, if there are two; return the words about it."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return "server, clients and job share one core"
    _pin(running.servers(), cores[0])
    _pin(running.workers(), cores[1])
    own = cores[2] if len(cores) > 2 else cores[0]
    os.sched_setaffinity(0, {own})
    clients = f"clients on core {own}" if own != cores[0] else "clients on the same"
    return f"server on core {cores[0]}, {clients}, job on core {cores[1]}"


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the processor time that processes have used, those of their dead children left out."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total
