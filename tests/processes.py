"""The program as a person runs it: a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90.0


def environment(data_dir: Path, **extra: str) -> dict[str, str]:
    """This process's environment with the program's data directory set."""
    return {**os.environ, "QUANTA_DATA_DIR": str(data_dir), **extra}


def command(*arguments: str) -> list[str]:
    """The command line of `quanta arguments…`."""
    return [sys.executable, "-m", "backend.cli", *arguments]


def quanta(
    data_dir: Path, *arguments: str, cwd: Path = ROOT, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `quanta arguments…` to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(data_dir, **extra),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@dataclass(frozen=True)
class Server:
    """A running server; `log` is the file that takes its standard error."""

    url: str
    data_dir: Path
    log: Path
    pid: int


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended ({process.returncode}): {log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"the server does not answer: {log.read_text()}")


@contextmanager
def serving(
    data_dir: Path,
    *,
    run: Sequence[str] | None = None,
    cwd: Path = ROOT,
    options: Sequence[str] = (),
    **extra: str,
) -> Iterator[Server]:
    """Run `quanta serve` on a free port until the end of the block.

    Args:
        data_dir: the program's data directory.
        run: how to start the program, `quanta` of this checkout if left out.
        cwd: working directory.
        options: more options of `quanta serve`.
        extra: more environment variables.
    """
    port = free_port()
    log = data_dir / "server-stderr.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*(run or command()), "serve", "--port", str(port), *options],
            env=environment(data_dir, **extra),
            cwd=cwd,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process, log)
        yield Server(url, data_dir, log, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
