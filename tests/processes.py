"""Run the program as a separate process."""

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
    """This process's environment with `QUANTA_DATA_DIR` set."""
    return {**os.environ, "QUANTA_DATA_DIR": str(data_dir), **extra}


def command(*arguments: str) -> list[str]:
    """The command line of `quanta arguments…`."""
    return [sys.executable, "-m", "backend.cli", *arguments]


def quanta(
    data_dir: Path, *arguments: str, cwd: Path = ROOT, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run `quanta arguments…` and wait for it."""
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
    """A running server; `log` is the file of its standard error."""

    url: str
    data_dir: Path
    log: Path
    pid: int


def free_port() -> int:
    """An unused loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server exited ({process.returncode}): {log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"the server did not start: {log.read_text()}")


@contextmanager
def running_server(
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
        run: command that starts the program, default `quanta` of this checkout.
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
        _wait_until_ready(url, process, log)
        yield Server(url, data_dir, log, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
