"""A server and workers that are killed and restarted."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, command, environment, free_port
from tests.workers import wait_until


def _stat(pid: int) -> tuple[str, int] | None:
    """State and parent of a process, None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # the process ended meanwhile
        return b""


def children(pid: int, word: str) -> list[int]:
    """Running children of a process with a word in their command line."""
    return [
        child
        for child in _pids()
        if (stat := _stat(child)) is not None
        and stat[1] == pid
        and stat[0] not in "ZX"
        and word.encode() in _read(child, "cmdline")
    ]


def computing(worker: int) -> list[int]:
    """The child process that computes for a worker, if there is one."""
    return children(worker, "spawn_main")


def users(folder: Path) -> list[int]:
    """Running processes of the program over a data directory."""
    mark = f"QUANTA_DATA_DIR={folder}\0".encode()
    return [
        pid
        for pid in _pids()
        if pid != os.getpid() and mark in _read(pid, "environ") + b"\0" and is_alive(pid)
    ]


class Fleet:
    """A server with its worker, and one more worker, over one store.

    Attributes:
        kills: how many workers, or computing processes alone, were killed: each may have had one
            unit of work in flight.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.kills = 0
        self._environment = environment(folder, **settings)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the processes that do not run."""
        for name, arguments in {
            "server": ("serve", "--port", str(self.port)),
            "worker": ("worker",),
        }.items():
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                with (self.folder / f"{name}.log").open("ab") as log:
                    self._running[name] = subprocess.Popen(
                        command(*arguments),
                        env=self._environment,
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )

    def workers(self) -> list[int]:
        """The worker beside the server, and the other worker."""
        server, worker = (self._running[name].pid for name in ("server", "worker"))
        return [*children(server, "--with-parent"), worker]

    def kill(self, what: str, rng: random.Random) -> None:
        """Kill processes: `server`, `worker`, `both`, or `child` (only the computing process)."""
        workers = self.workers()
        if what == "child":
            targets = [child for worker in workers for child in computing(worker)]
            targets = [rng.choice(targets)] if targets else []
            self.kills += len(targets)
        else:
            chosen = workers if what == "both" else [rng.choice(workers)]
            # The server's worker ends with it, during a unit.
            chosen = workers[:-1] if what == "server" else chosen
            self.kills += len(chosen)
            servers = [self._running["server"].pid] if what in {"server", "both"} else []
            targets = servers + ([] if what == "server" else chosen)
            if rng.random() < 0.3:
                targets += [child for worker in chosen for child in computing(worker)]
        for target in targets:
            try:
                os.kill(target, signal.SIGKILL)
            except ProcessLookupError:  # its parent was killed before
                continue
        wait_until(lambda: not any(is_alive(target) for target in targets), "the end of the killed")
        # A process is a zombie before its last thread has ended: only then is it seen as ended, and
        # started again. For some cycles nothing ran at all.
        for process in self._running.values():
            if process.pid in targets:
                process.wait(timeout=240)

    def end(self) -> None:
        """End all processes in order and wait for them."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            process.wait(timeout=120)


@contextmanager
def fleet(folder: Path, **settings: str) -> Iterator[Fleet]:
    """Run a fleet until the end of the block."""
    processes = Fleet(folder, settings)
    try:
        yield processes
        processes.end()
    finally:
        deadline = time.monotonic() + 60
        while (left := users(folder)) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)
