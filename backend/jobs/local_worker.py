"""The worker beside a server: a process that is restarted if it ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from backend.settings import Settings

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
# A worker that ran this long did not fail at its start.
HEALTHY_SECONDS = 20.0


class LocalWorker:
    """Keeps one worker running for as long as this process runs."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {
            **os.environ,
            "QUANTA_DATA_DIR": str(settings.data_dir.resolve()),
            "QUANTA_DATABASE_URL": settings.database_url,
            "PYTHONPATH": os.pathsep.join([str(_source()), os.environ.get("PYTHONPATH", "")]),
        }
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker, and wait until it has ended."""
        self._stopped.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(timeout=10)

    def _supervise(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._stopped.is_set():
            started = time.monotonic()
            # The worker ends when its standard input does, so it ends with this process.
            with subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "worker", "--with-parent"],
                env=self._environment,
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches the server only, which ends the worker
            ) as process:
                self._process = process
                process.wait()
            if time.monotonic() - started > HEALTHY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _source() -> Path:
    return Path(__file__).resolve().parent.parent.parent
