"""One worker beside the server: a process of its own that is started again if it dies."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from backend.settings import Settings

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
# A worker that lived this long did not die of its start.
HEALTHY_SECONDS = 20.0


class LocalWorker:
    """Keeps one worker alive for as long as this process lives."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {
            **os.environ,
            "QUANTA_DATA_DIR": str(settings.data_dir.resolve()),
            "QUANTA_DATABASE_URL": settings.database_url,
            "PYTHONPATH": os.pathsep.join([str(_source()), os.environ.get("PYTHONPATH", "")]),
        }
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._stopped.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(timeout=10)

    def _keep(self) -> None:
        wait = FIRST_WAIT_SECONDS
        while not self._stopped.is_set():
            began = time.monotonic()
            # It ends when its standard input does: however this process ends, it ends too.
            with subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "worker", "--with-parent"],
                env=self._environment,
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is answered by the server, which then ends it
            ) as process:
                self._process = process
                process.wait()
            if time.monotonic() - began > HEALTHY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            self._stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _source() -> Path:
    return Path(__file__).resolve().parent.parent.parent
