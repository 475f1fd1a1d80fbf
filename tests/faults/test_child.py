"""The process that computes for a worker: begun again when it is ended, but not for ever."""

import os
import signal
import threading
from pathlib import Path

import pytest

from backend.errors import QuantaError
from backend.jobs.child import TRIES, Child
from tests.workers import until


def dying(file: Path, times: int) -> str:
    """End this process at once, so many times; then return a word."""
    begun = len(file.read_bytes()) if file.exists() else 0
    file.write_bytes(bytes(begun + 1))
    if begun < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def endless(file: Path) -> None:
    file.touch()
    threading.Event().wait()


@pytest.mark.soak
def test_a_task_is_begun_again_until_it_has_ended_too_many_processes(tmp_path: Path) -> None:
    child = Child()
    assert child.call(dying, tmp_path / "some", TRIES - 1) == "done"
    with pytest.raises(QuantaError, match="ended unexpectedly"):
        child.call(dying, tmp_path / "all", TRIES)
    assert len((tmp_path / "all").read_bytes()) == TRIES
    assert child.call(dying, tmp_path / "none", 0) == "done"


@pytest.mark.soak
def test_a_task_that_is_stopped_on_purpose_is_not_begun_again(tmp_path: Path) -> None:
    child, file = Child(), tmp_path / "begun"

    def stop() -> None:
        until(file.exists, "the task")
        child.kill()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(QuantaError, match="ended unexpectedly"):
        child.call(endless, file)
    thread.join()
