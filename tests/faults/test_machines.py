"""Workers on several machines over one PostgreSQL database, each with its own network, host name
and data directory, so that they share only the database."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from backend.jobs import job_table, workflows
from backend.jobs.queue import submit
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.suites import add_suite
from backend.store.database import Store, open_store
from backend.store.tables import LossChunk, Worker
from tests import stores
from tests.faults.fleet import computing
from tests.processes import ROOT, command, environment
from tests.workers import computed_units, wait_until

CORPUS, MODELS = "first-40", ("s1", "s2", "s3")
TAKE_OVER_SECONDS = 60
STOPPED_SECONDS = 120


@dataclass(frozen=True)
class Machine:
    """A worker on its own machine."""

    process: subprocess.Popen[bytes]
    folder: Path

    def lines(self) -> list[str]:
        return computed_units(self.folder)


def _apart() -> list[str]:
    """The prefix of a command with its own network and host name, where that is allowed."""
    apart = ["unshare", "--net", "--uts"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        return []  # separate directories still separate locks and logs
    return [*apart, "sh", "-c", 'hostname "$0" && exec "$@"']


def tell(worker: int, number: signal.Signals) -> None:
    """Send a signal to a worker and to its child."""
    for pid in (worker, *computing(worker)):
        os.kill(pid, number)


@contextmanager
def machine(folder: Path, name: str, url: str) -> Iterator[Machine]:
    own = folder / name
    own.mkdir()
    apart = _apart()
    with (own / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*apart, *([name] if apart else []), *command("worker", "--with-parent")],
            env=environment(own, QUANTA_DATABASE_URL=url),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield Machine(process, own)
    finally:
        if process.poll() is None:
            tell(process.pid, signal.SIGCONT)
            process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def shared_store(tmp_path: Path, postgres_url: str) -> Iterator[Store]:
    """A PostgreSQL store with a suite and a corpus, without evaluations."""
    store = open_store(Settings(data_dir=tmp_path / "data", database_url=postgres_url))
    add_suite(store, stores.BUNDLED, "mini", "bundled", Silent())
    stores.small_corpus(store, documents=40)
    yield store
    workflows.disconnect()
    store.close()


@contextmanager
def machines(store: Store, folder: Path, count: int) -> Iterator[list[Machine]]:
    """Idle machines."""
    with ExitStack() as stack:
        url = store.settings.database_url
        group = [stack.enter_context(machine(folder, f"machine-{n}", url)) for n in range(count)]
        wait_until(lambda: len(hosts(store)) == count, "all machines")
        yield group


def hosts(store: Store) -> dict[str, str]:
    """Names of live workers, by host or, if they share a host, by name."""
    with store.session() as session:
        rows = session.execute(select(Worker.host, Worker.id).where(Worker.state == "live"))
        return {host if host.startswith("machine-") else name: name for host, name in rows}


def evaluation(store: Store, steps: list[int]) -> str:
    params = {"suite": "mini", "corpus": CORPUS, "models": list(MODELS), "steps": steps}
    return submit(store, "evaluate", params).id


def started_slices(store: Store, worker: str) -> list[str]:
    """Slices that a worker has started, by the engine's tables."""
    query = (
        "SELECT workflow_uuid FROM dbos.workflow_status WHERE status = 'PENDING'"
        f" AND executor_id = :worker AND queue_name = '{workflows.SLICES}'"
    )
    with store.session() as session:
        return list(session.scalars(text(query), {"worker": worker}))


def written(store: Store) -> dict[tuple[int, int], tuple[str, datetime]]:
    """The checksum and the time of each chunk of losses."""
    with store.session() as session:
        columns = (LossChunk.evaluation_id, LossChunk.chunk, LossChunk.checksum)
        rows = session.execute(select(*columns, LossChunk.created_at))
        return {(evaluation, chunk): (worker, at) for evaluation, chunk, worker, at in rows}


def is_taken_over(store: Store, slices: list[str], worker: str) -> bool:
    """Whether other workers have started or ended all these slices."""
    query = (
        "SELECT COUNT(*) FROM dbos.workflow_status WHERE workflow_uuid = ANY(:slices)"
        " AND (status = 'ENQUEUED' OR executor_id = :worker)"
    )
    with store.session() as session:
        waiting = session.execute(text(query), {"slices": slices, "worker": worker}).scalar_one()
    return int(waiting) == 0


def assert_only_the_lost_was_repeated(group: list[Machine], lost: Machine) -> None:
    """No unit is computed twice, except the one in flight of the lost worker."""
    counts = Counter(line for member in group for line in member.lines())
    twice = {line: n for line, n in counts.items() if n > 1}
    assert not twice or twice == {lost.lines()[-1]: 2}, twice


def assert_finished(store: Store, job: str) -> None:
    done = job_table.get_job(store, job)
    assert (done.state, done.problem, done.done) == ("finished", None, done.total)


def _killed(store: Store, folder: Path, count: int, steps: list[int]) -> float:
    """Kill one of some machines during a unit; return the time until others have its slices."""
    with machines(store, folder, count) as group:
        job = evaluation(store, steps)
        wait_until(lambda: all(member.lines() for member in group), "all at work")
        lost = group[0]
        name = _name(store, lost)
        wait_until(lambda: started_slices(store, name), "a slice of the first")
        lost.process.kill()
        killed, slices = time.monotonic(), started_slices(store, name)
        lost.process.wait()
        wait_until(lambda: is_taken_over(store, slices, name), "the take-over")
        seconds = time.monotonic() - killed
        wait_until(lambda: not job_table.list_open_jobs(store), "the job")
        assert_finished(store, job)
        assert_only_the_lost_was_repeated(group, lost)
        print(f"{count} machines: {len(slices)} slices taken over after {seconds:.1f} s")
    return seconds


def _name(store: Store, member: Machine) -> str:
    """The name of a machine's worker, from its lock file."""
    (lock,) = member.folder.glob("worker-*.lock")
    end = lock.stem.rpartition("-")[2]
    (name,) = [name for name in hosts(store).values() if name.endswith(f":{end}")]
    return name


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 4])
def test_the_units_of_a_killed_machine_are_recovered_within_a_minute(
    shared_store: Store, tmp_path: Path, count: int
) -> None:
    steps = [0, 8, 32, 64, 128, 250, 500, 1000, 2000]
    assert _killed(shared_store, tmp_path, count, steps) < TAKE_OVER_SECONDS


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 4])
def test_a_machine_that_was_suspended_for_two_minutes_is_fenced(
    shared_store: Store, tmp_path: Path, count: int
) -> None:
    store = shared_store
    with machines(store, tmp_path, count) as group:
        job = evaluation(store, [0, 8, 64, 250, 500, 1000, 2000])
        wait_until(lambda: all(member.lines() for member in group), "all at work")
        lost = group[0]
        name = _name(store, lost)
        wait_until(lambda: started_slices(store, name), "a slice of the first")
        tell(lost.process.pid, signal.SIGSTOP)
        stopped, slices = time.monotonic(), started_slices(store, name)
        wait_until(lambda: is_taken_over(store, slices, name), "the take-over")
        seconds = time.monotonic() - stopped
        wait_until(lambda: not job_table.list_open_jobs(store), "the job")
        # The others still compute when it runs again, and it must not interfere.
        further = evaluation(store, [32, 128])
        wait_until(lambda: time.monotonic() - stopped > STOPPED_SECONDS, "two minutes")
        before = written(store)
        tell(lost.process.pid, signal.SIGCONT)
        assert lost.process.wait(timeout=240) == 3  # exit status of a lost lease
        wait_until(lambda: not job_table.list_open_jobs(store), "the further job")
        assert before.items() <= written(store).items()
        assert_finished(store, job)
        assert_finished(store, further)
        assert_only_the_lost_was_repeated(group, lost)
        assert all(member.process.poll() is None for member in group[1:])
        print(f"{count} machines, one stopped: taken over after {seconds:.1f} s, then fenced")
    assert seconds < TAKE_OVER_SECONDS


@pytest.mark.soak
def test_jobs_compute_shared_parts_once(shared_store: Store, tmp_path: Path) -> None:
    """Overlapping evaluations, and discoveries on one selection, on two machines."""
    store = shared_store
    with machines(store, tmp_path, 2) as group:
        shared: dict[str, Any] = {"suite": "mini", "corpus": CORPUS}
        for models in (["s1", "s2"], ["s2", "s3"], ["s2"], ["s3", "s1"]):
            submit(store, "evaluate", {**shared, "models": models, "steps": [0, 500, 2000]})
        wait_until(lambda: not job_table.list_open_jobs(store), "the evaluations")
        params = {**shared, "model": "s3", "max_loss_nats": 2.0, "limit": 900, "n_init": 2}
        for n_clusters in ([3], [4], [3, 5]):
            submit(
                store, "discover", {**params, "induction_filter": False, "n_clusters": n_clusters}
            )
        wait_until(lambda: not job_table.list_open_jobs(store), "the discoveries")
        jobs = job_table.list_jobs(store).jobs
        assert {(member.state, member.problem) for member in jobs} == {("finished", None)}
        counts = Counter(line for member in group for line in member.lines())
        assert {line: n for line, n in counts.items() if n > 1} == {}
        assert all(member.lines() for member in group)
        print(f"7 jobs on 2 machines: {len(counts)} parts, each computed once")
