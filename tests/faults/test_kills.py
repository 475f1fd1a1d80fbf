"""Servers, workers and their children are killed at any time: each job still ends as if
undisturbed, and no committed unit is computed again."""

import json
import os
import random
import sqlite3
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, text

from backend.jobs import job_table, workflows
from backend.jobs.queue import submit
from backend.settings import Settings
from backend.store.content_hash import content_hash
from backend.store.database import Store, open_store
from backend.store.tables import Job
from tests.faults import jobs
from tests.faults.fleet import Fleet, fleet, users
from tests.workers import COMMITTED, computed_units, running_worker, wait_until

VICTIMS = ("worker", "worker", "child", "server", "both")
# Kills right after a start, before any unit is computed.
EARLY_SHARE = 0.3
OPEN_JOBS = 5
CYCLES = int(os.environ.get("FAULT_CYCLES", "100"))
SOAK_JOBS = 2 * CYCLES
# Units of a discovery by one worker: select, cosines, cluster.
PARTS_ALONE = 3


@dataclass(frozen=True)
class Undisturbed:
    """The same queue, executed by one worker without kills."""

    queue: jobs.Queue
    content_hash: str
    engine_rows: dict[str, int]


def engine_rows(store: Store) -> dict[str, int]:
    """Workflows of the engine by status, and their recorded steps."""
    schema = "" if "sqlite" in store.settings.url else "dbos."
    url = workflows.system_url(store.settings).replace("postgresql:", "postgresql+psycopg:")
    result = create_engine(url)
    with result.connect() as connection:
        statuses = f"SELECT status, COUNT(*) FROM {schema}workflow_status GROUP BY status"
        rows = {str(status): int(n) for status, n in connection.execute(text(statuses))}
        steps = f"SELECT COUNT(*) FROM {schema}operation_outputs"
        rows["steps"] = int(connection.execute(text(steps)).scalar_one())
    result.dispose()
    return rows


def has_ended(store: Store) -> bool:
    """Whether all jobs and all workflows of the engine have ended."""
    return not job_table.list_open_jobs(store) and set(engine_rows(store)) == {"SUCCESS", "steps"}


def committed(store: Store) -> set[str]:
    """Lines of quanta.log of committed units."""
    with store.session() as session:
        return set(session.scalars(text(COMMITTED)))


def undisturbed_run(folder: Path, queue: jobs.Queue) -> Undisturbed:
    store = open_store(Settings(data_dir=folder / "data"))
    jobs.build(store, folder, queue)
    for number in range(queue.count):
        kind, parameters = queue.request(number)
        submit(store, kind, parameters)
    with running_worker(folder / "data"):
        wait_until(lambda: has_ended(store), "the undisturbed run", 300 + 20 * queue.count)
    assert states(store) == {"finished": queue.count}
    lines = computed_units(folder / "data")
    assert len(set(lines)) == len(lines), "undisturbed, each unit is computed once"
    assert set(lines) <= committed(store)
    result = Undisturbed(queue, content_hash(store)[0], engine_rows(store))
    workflows.disconnect()
    store.close()
    return result


def states(store: Store) -> dict[str, int]:
    with store.session() as session:
        counted = select(Job.state, func.count()).group_by(Job.state)
        return {state: n for state, n in session.execute(counted)}


def post(url: str, number: int, request: jobs.Request) -> dict[str, Any]:
    """Submit a job, with retries until it is accepted; only the key makes them safe."""
    kind, parameters = request
    request = urllib.request.Request(
        f"{url}/api/v1/jobs",
        json.dumps({"kind": kind, "parameters": parameters}).encode(),
        {
            "Content-Type": "application/json",
            "Idempotency-Key": f"job-{number}",
            "Sec-Fetch-Site": "none",
        },
    )
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                accepted: dict[str, Any] = json.load(answer)
                return accepted
        except urllib.error.HTTPError as error:
            if error.code != 503:  # busy for a moment
                raise
            problem: OSError = error
        except (OSError, json.JSONDecodeError) as error:  # the server is dead, or died meanwhile
            problem = OSError(str(error))
        assert time.monotonic() < deadline, (number, problem)
        time.sleep(0.1)


class Client:
    """Submits one job after the other in a thread, so that there is always work."""

    def __init__(self, store: Store, url: str, queue: jobs.Queue) -> None:
        self.store, self.url, self.queue = store, url, queue
        # How many jobs may be submitted by now.
        self.due = 0
        self.ids: list[str] = []

    def __call__(self) -> None:
        for number in range(self.queue.count):
            wait_until(lambda n=number: n < self.due and self._is_room(), "work to be done", 1800)
            self.ids.append(post(self.url, number, self.queue.request(number))["id"])

    def _is_room(self) -> bool:
        return len(job_table.list_open_jobs(self.store)) < OPEN_JOBS or self.due >= self.queue.count


def wait_for_a_moment(rng: random.Random, store: Store, folder: Path) -> None:
    """Wait for a random moment: right after a start, or while units are computed."""
    if rng.random() < EARLY_SHARE:
        time.sleep(2 * rng.random())
        return
    n_before, n_more = len(computed_units(folder)), rng.randint(1, 3)
    # Continue without an open job, but not while a slow machine still starts processes: kills that
    # come faster than starts would let no unit complete.
    began = time.monotonic()
    while len(computed_units(folder)) < n_before + n_more and time.monotonic() < began + 300:
        if time.monotonic() > began + 30 and not job_table.list_open_jobs(store):
            break
        time.sleep(0.02)
    time.sleep(0.3 * rng.random())


def cycle(running: Fleet, store: Store, rng: random.Random) -> tuple[set[str], int]:
    """Kill once; return the units committed before, and the number of log lines."""
    running.start()
    wait_for_a_moment(rng, store, running.folder)
    # Units first: each committed unit has a line by then.
    units = committed(store)
    n_before = len(computed_units(running.folder))
    running.kill(rng.choice(VICTIMS), rng)
    return units, n_before


def disturbed_run(store: Store, folder: Path, queue: jobs.Queue, cycles: int, seed: int) -> None:
    """Run the queue under kills, then to its end."""
    rng, moments, count = random.Random(seed), [], queue.count
    extra = {"QUANTA_DATABASE_URL": store.settings.database_url, "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    began = time.monotonic()
    with fleet(folder / "data", **extra) as running, ThreadPoolExecutor(1) as thread:
        client = Client(store, running.url, queue)
        asking = thread.submit(client)
        for number in range(cycles):
            client.due = min(count, OPEN_JOBS + count * number // cycles)
            moments.append(cycle(running, store, rng))
        client.due = count
        running.start()
        asking.result()
        wait_until(lambda: has_ended(store), "the end of all jobs", 300 + 20 * count)
        seconds = time.monotonic() - began
    assert len(set(client.ids)) == count, "each request became one job"
    lines = computed_units(folder / "data")
    for units, n_before in moments:
        repeated = units & set(lines[n_before:])
        assert not repeated, f"committed before a kill and computed again: {sorted(repeated)}"
    counts = Counter(lines)
    twice = sum(counts.values()) - len(counts)
    print(
        f"{store.engine.dialect.name}: {cycles} cycles, {running.kills} workers or computing "
        f"processes killed, {count} jobs, {len(counts)} units, {twice} of them in flight at a kill "
        f"and computed again, {seconds:.0f} s"
    )
    assert twice <= running.kills, [line for line in counts if counts[line] > 1]


def assert_as_undisturbed(store: Store, undisturbed: Undisturbed) -> None:
    with store.session() as session:
        for row in session.scalars(select(Job)):
            assert (row.state, row.problem) == ("finished", None), (row.id, row.kind, row.problem)
            assert row.done == row.total, (row.id, row.kind)
    assert states(store) == {"finished": undisturbed.queue.count}
    assert content_hash(store)[0] == undisturbed.content_hash
    # A discovery has as many parts as there were workers at its start; each further part is one
    # more slice, with its workflow and steps.
    with store.session() as session:
        totals = session.scalars(select(Job.total).where(Job.kind == "discover")).all()
    further = sum((total or 0) - PARTS_ALONE for total in totals)
    expected = undisturbed.engine_rows
    assert engine_rows(store) == {
        "SUCCESS": expected["SUCCESS"] + further,
        "steps": expected["steps"] + 3 * further,
    }


def assert_nothing_is_left(store: Store, folder: Path) -> None:
    """No process, no lock, no partial file, no damage."""
    assert users(folder / "data") == []
    # One more worker removes what the last ones left.
    with running_worker(folder / "data", QUANTA_DATABASE_URL=store.settings.database_url):
        wait_until(lambda: len(list((folder / "data").glob("worker-*.lock"))) == 1, "one lock")
    assert not list((folder / "data").rglob("*.part"))
    for name in ("quanta.sqlite", "jobs.sqlite"):
        if (folder / "data" / name).exists():
            with closing(sqlite3.connect(folder / "data" / name)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturbed_run(tmp_path_factory.mktemp("undisturbed"), jobs.Queue(9, jobs.QUICK))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturbed_run(tmp_path_factory.mktemp("undisturbed"), jobs.Queue(SOAK_JOBS, jobs.ALL))


@pytest.fixture
def empty_store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    store = open_store(Settings(data_dir=tmp_path / "data", database_url=database_url))
    yield store
    workflows.disconnect()
    store.close()


def run(store: Store, folder: Path, undisturbed: Undisturbed, cycles: int, seed: int) -> None:
    jobs.build(store, folder, undisturbed.queue)
    disturbed_run(store, folder, undisturbed.queue, cycles, seed)
    assert_as_undisturbed(store, undisturbed)
    assert_nothing_is_left(store, folder)


@pytest.mark.slow
def test_jobs_whose_processes_are_killed_end_as_if_undisturbed(
    empty_store: Store, few: Undisturbed, tmp_path: Path
) -> None:
    run(empty_store, tmp_path, few, cycles=5, seed=0)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_jobs_whose_processes_are_killed_a_hundred_times_end_as_if_undisturbed(
    empty_store: Store, many: Undisturbed, tmp_path: Path
) -> None:
    run(empty_store, tmp_path, many, cycles=CYCLES, seed=1)
