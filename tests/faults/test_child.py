"""The child process of a worker: restarted after a crash, but not for ever."""

import os
import signal
import threading
from pathlib import Path

import pytest

from backend.jobs import job_log, job_table
from backend.jobs.child_process import Child, ChildEndedError
from backend.jobs.worker import BATCH_SHARES, Worker
from backend.store.database import Store
from backend.store.tables import Job
from backend.store.tables.base import now
from tests.workers import wait_until


def dying(file: Path, times: int) -> str:
    """Exit this process a number of times; then return a word."""
    n_calls = len(file.read_bytes()) if file.exists() else 0
    file.write_bytes(bytes(n_calls + 1))
    if n_calls < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def endless(file: Path) -> None:
    file.touch()
    threading.Event().wait()


def test_a_killed_process_raises_and_the_next_call_starts_another(tmp_path: Path) -> None:
    child = Child()
    with pytest.raises(ChildEndedError):
        child.call(dying, tmp_path / "one", 1)
    assert child.call(dying, tmp_path / "one", 1) == "done"


def test_a_unit_that_kills_its_child_is_retried_with_smaller_batches_and_then_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, job = Worker(store), a_job(store)
    shares: list[float] = []

    def call(_function: object, *arguments: object) -> None:
        shares.append(float(str(arguments[-1])))
        raise ChildEndedError

    monkeypatch.setattr(worker.child, "call", call)
    assert not worker.perform(job, 1, ["classify"])
    assert shares == list(BATCH_SHARES)
    view = job_table.get_job(store, job)
    assert (view.state, view.done) == ("failed", 0)
    assert "out of memory" in str(view.problem)
    assert sum("retrying unit" in line.text for line in job_log.read_log(store, job).lines) == 4


def a_job(store: Store) -> str:
    """A running job with any parameters."""
    with store.begin() as session:
        row = Job(
            id="j1", kind="classify", state="running", parameters={}, key="k", claim="k", done=0,
            total=1, unit="stages", attempt=1, updated_at=now(),
        )  # fmt: skip
        session.add(row)
    return row.id


@pytest.mark.soak
def test_a_cancelled_unit_is_not_retried(tmp_path: Path) -> None:
    child, file = Child(), tmp_path / "begun"

    def stop() -> None:
        wait_until(file.exists, "the task")
        child.kill()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(ChildEndedError):
        child.call(endless, file)
    thread.join()
