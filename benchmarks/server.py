"""A `quanta serve` process over a copy of a data directory: its processes, memory and cores."""

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
STARTUP_SECONDS = 240.0


@dataclass
class Server:
    """A running `quanta serve` and its worker."""

    port: int
    process: psutil.Process
    peak_mb: float = 0.0

    @property
    def base(self) -> str:
        """Base URL."""
        return f"http://{HOST}:{self.port}"

    def request_json(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request and return the JSON of the response."""
        headers = {"Content-Type": "application/json", "Sec-Fetch-Site": "none"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def workers(self) -> list[psutil.Process]:
        """Return the worker and its child processes."""
        workers = [child for child in self.process.children() if "worker" in child.cmdline()]
        return [
            *workers,
            *(child for worker in workers for child in worker.children(recursive=True)),
        ]

    def servers(self) -> list[psutil.Process]:
        """Return the processes other than the worker's."""
        workers = self.workers()
        children = [p for p in self.process.children(recursive=True) if p not in workers]
        return [self.process, *children]

    def sample_memory(self) -> None:
        """Update the peak memory of the server."""
        with suppress(psutil.NoSuchProcess):
            rss = sum(process.memory_info().rss for process in self.servers())
            self.peak_mb = max(self.peak_mb, rss / 1e6)


def copy_data_dir(source: Path, folder: Path) -> Path:
    """Copy a data directory, which may be in use, and return the copy."""
    database = source / "quanta.sqlite"
    if not database.is_file():
        sys.exit(f"error: no store in {source}.\nRun `quanta demo`, or pass another directory.")
    folder.mkdir()
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(folder / database.name)) as new,
    ):
        old.backup(new)
    if (source / "cache").is_dir():
        shutil.copytree(source / "cache", folder / "cache")
    return folder


def wait_until(is_true: Callable[[], bool], failure: str) -> None:
    """Wait until a condition is true; exit with `failure` after a timeout."""
    end = time.monotonic() + STARTUP_SECONDS
    while not is_true():
        if time.monotonic() > end:
            sys.exit(f"error: {failure} after {STARTUP_SECONDS:.0f} s.")
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
            sys.exit(f"error: the server stopped:\n{(folder / 'server.log').read_text()[-2000:]}")
        with suppress(urllib.error.URLError, ConnectionError):
            return running.request_json("/readyz")["status"] == "ready" and bool(running.workers())
        return False

    try:
        wait_until(is_ready, "the server is not ready")
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _pin(processes: Sequence[psutil.Process], core: int) -> None:
    """Pin processes, with their present and future threads, to a core."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for thread in process.threads():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread.id, {core})


def pin_cores(running: Server) -> str:
    """Pin the worker to a core of its own if there are two; return a description."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return "server, clients and job share one core"
    _pin(running.servers(), cores[0])
    _pin(running.workers(), cores[1])
    client_core = cores[2] if len(cores) > 2 else cores[0]
    os.sched_setaffinity(0, {client_core})
    is_shared = client_core == cores[0]
    clients = "clients on the same core" if is_shared else f"clients on core {client_core}"
    return f"server on core {cores[0]}, {clients}, job on core {cores[1]}"


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU time of processes, without their finished children."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total
