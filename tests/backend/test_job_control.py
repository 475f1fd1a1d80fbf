"""Cancelled jobs and killed or suspended workers, on each kind of database."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.errors import ConflictError, InvalidInputError, NotReadyError
from backend.jobs import job_table, leases, workflows
from backend.jobs.queue import resume, submit
from backend.progress import Silent
from backend.read.job_views import OPEN_STATES
from backend.settings import Settings
from backend.stages.suites import add_suite
from backend.store.database import Store, open_store
from backend.store.tables import Evaluation, JobUnit, LossChunk, Worker
from backend.store.tables.base import now
from tests import stores
from tests.workers import computed_units, running_worker, wait_until

EVALUATE: dict[str, Any] = {
    "suite": "mini",
    "corpus": "first-40",
    "models": ["s1", "s2", "s3"],
    "steps": [0, 2000],
}
DISCOVER: dict[str, Any] = {
    "suite": "mini",
    "corpus": "first-40",
    "model": "s4",
    "max_loss_nats": 0.5,
    "induction_filter": False,
    "limit": 60,
    "n_clusters": [3, 5],
    "n_init": 3,
}


@pytest.fixture
def suite_store(tmp_path: Path, suite_folder: Path, database_url: str) -> Iterator[Store]:
    """A store with a suite and a corpus of several chunks, and nothing evaluated."""
    store = open_store(Settings(data_dir=tmp_path / "data", database_url=database_url))
    add_suite(store, stores.BUNDLED, "mini", "bundled", Silent())
    stores.small_corpus(store, documents=40)
    yield store
    workflows.disconnect()
    store.engine.dispose()


def ended(store: Store, job_id: str) -> Callable[[], bool]:
    return lambda: job_table.get_job(store, job_id).state not in OPEN_STATES


def extra(store: Store) -> dict[str, str]:
    return {"QUANTA_DATABASE_URL": store.settings.database_url}


def losses(store: Store) -> dict[tuple[str, int], str]:
    """Checksums of the stored chunks of losses."""
    with store.session() as session:
        rows = session.execute(
            select(Evaluation.key, LossChunk.chunk, LossChunk.checksum).join(
                Evaluation, Evaluation.id == LossChunk.evaluation_id
            )
        )
        return {(key, chunk): checksum for key, chunk, checksum in rows}


def assert_nothing_was_computed_twice(store: Store, in_flight: int = 0) -> None:
    counts = Counter(
        line for line in computed_units(store.settings.data_dir) if line.startswith("evaluate")
    )
    assert sum(counts.values()) - len(counts) <= in_flight


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_cancelled_job_stops_at_once_keeps_its_units_and_is_resumed(
    suite_store: Store,
) -> None:
    job = submit(suite_store, "evaluate", EVALUATE)
    with running_worker(suite_store.settings.data_dir, **extra(suite_store)):
        wait_until(lambda: job_table.get_job(suite_store, job.id).done >= 2, "two chunks")
        assert job_table.cancel(suite_store, job.id).state in {"cancelling", "cancelled"}
        wait_until(ended(suite_store, job.id), "the end")
        stopped = job_table.get_job(suite_store, job.id)
        committed = losses(suite_store)
        assert stopped.state == "cancelled"
        assert stopped.total is not None
        assert 2 <= stopped.done < stopped.total
        assert job_table.cancel(suite_store, job.id) == stopped
        resumed = resume(suite_store, job.id)
        assert (resumed.id, resumed.attempt) == (job.id, 2)
        with pytest.raises(ConflictError):
            resume(suite_store, job.id)
        wait_until(ended(suite_store, job.id), "the rest")
    done = job_table.get_job(suite_store, job.id)
    assert (done.state, done.done, done.problem) == ("finished", stopped.total, None)
    after = losses(suite_store)
    assert committed.items() <= after.items()
    assert len(after) == stopped.total
    assert_nothing_was_computed_twice(suite_store, in_flight=1)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_evaluation_a_classification_and_a_discovery_follow_each_other(
    suite_store: Store,
) -> None:
    with pytest.raises(NotReadyError, match="not evaluated"):
        submit(suite_store, "discover", DISCOVER)
    with running_worker(suite_store.settings.data_dir, **extra(suite_store)):
        for kind, params in (
            ("evaluate", {**EVALUATE, "models": ["s1", "s2", "s3", "s4"], "steps": [2000]}),
            ("classify", {"suite": "mini", "corpus": "first-40"}),
            ("discover", DISCOVER),
        ):
            job = submit(suite_store, kind, params)  # type: ignore[arg-type]
            wait_until(ended(suite_store, job.id), kind)
            done = job_table.get_job(suite_store, job.id)
            assert (done.state, done.problem) == ("finished", None)
            assert done.page
    assert done.result is not None
    assert sorted(map(int, done.result["clusterings"])) == [3, 5]
    assert submit(suite_store, "discover", DISCOVER).id == done.id


@pytest.mark.soak
def test_the_units_of_a_killed_worker_are_recovered(suite_store: Store) -> None:
    folder, settings = suite_store.settings.data_dir, extra(suite_store)
    job = submit(suite_store, "evaluate", EVALUATE)
    with running_worker(folder, **settings) as first, running_worker(folder, **settings):
        wait_until(lambda: len(_at_work(suite_store)) == 2, "both at work")
        os.kill(first.pid, signal.SIGKILL)
        wait_until(ended(suite_store, job.id), "the job")
    done = job_table.get_job(suite_store, job.id)
    assert (done.state, done.done) == ("finished", done.total)
    assert len(losses(suite_store)) == done.total
    assert_nothing_was_computed_twice(suite_store, in_flight=1)


@pytest.mark.soak
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_suspended_worker_is_replaced_and_fenced(
    suite_store: Store,
) -> None:
    """On SQLite a process that is stopped inside a write keeps the file locked: nothing helps."""
    folder, settings = suite_store.settings.data_dir, extra(suite_store)
    job = submit(suite_store, "evaluate", EVALUATE)
    with running_worker(folder, **settings) as first:
        wait_until(lambda: job_table.get_job(suite_store, job.id).done >= 2, "two chunks")
        os.kill(first.pid, signal.SIGSTOP)
        before = job_table.get_job(suite_store, job.id).done
        with running_worker(folder, **settings) as second:
            # The child of the stopped worker may still commit what it computes.
            wait_until(
                lambda: job_table.get_job(suite_store, job.id).done >= before + 2, "the take-over"
            )
            wait_until(ended(suite_store, job.id), "the job")
            final = losses(suite_store)
            os.kill(first.pid, signal.SIGCONT)
            assert first.wait(timeout=120) == 3  # exit status of a lost lease
            assert second.poll() is None
    done = job_table.get_job(suite_store, job.id)
    assert (done.state, done.done) == ("finished", done.total)
    assert losses(suite_store) == final
    assert len(final) == done.total
    assert_nothing_was_computed_twice(suite_store, in_flight=1)


def _at_work(store: Store) -> list[str]:
    with store.session() as session:
        return list(session.scalars(select(Worker.id).where(Worker.job_id.is_not(None))))


def test_a_queued_job_is_cancelled_without_a_worker_and_can_be_resumed(suite_store: Store) -> None:
    job = submit(suite_store, "evaluate", EVALUATE, "a-key")
    assert job_table.cancel(suite_store, job.id).state == "cancelled"
    other = submit(suite_store, "evaluate", EVALUATE)
    assert other.id != job.id
    with pytest.raises(ConflictError, match=other.id):
        resume(suite_store, job.id)
    job_table.cancel(suite_store, other.id)
    assert resume(suite_store, job.id).state == "queued"


def test_a_worker_without_a_lease_cannot_commit(suite_store: Store) -> None:
    first = leases.register_worker(suite_store, "cpu")
    second = leases.register_worker(suite_store, "cpu")
    assert leases.expire_leases(suite_store, second) == ()  # its lock is held
    leases.release_lease(suite_store, first)
    assert leases.expire_leases(suite_store, second) == (first,)
    with pytest.raises(leases.LostLeaseError):
        leases.renew_lease(suite_store, first)
    suite_store.fence = leases.make_fence(first)
    with pytest.raises(leases.LostLeaseError), suite_store.begin() as session:
        session.add(JobUnit(job_id="none", unit="u", worker=first, seconds=0, finished_at=now()))
    suite_store.fence = leases.make_fence(second)
    with suite_store.begin() as session:
        assert session.get_one(Worker, second).state == "live"
    leases.retire_workers(suite_store, [first])
    assert leases.expire_leases(suite_store, second) == ()


def test_renewals_and_units_of_a_worker_do_not_deadlock(any_store: Store) -> None:
    worker = leases.register_worker(any_store, "cpu")
    any_store.fence = leases.make_fence(worker)

    def write_units() -> None:
        for number in range(60):
            with any_store.begin() as session:
                session.get_one(Worker, worker).job_id = f"j{number}"

    with ThreadPoolExecutor(1) as thread:
        units = thread.submit(write_units)
        while not units.done():
            leases.renew_lease(any_store, worker)
    units.result()


def test_stale_lock_files_are_removed(any_store: Store) -> None:
    folder = any_store.settings.data_dir
    (folder / "worker-host-cpu-0123abcd.lock").touch()
    first = leases.register_worker(any_store, "cpu")
    second = leases.register_worker(any_store, "cpu")
    left = sorted(path.name for path in folder.glob("worker-*.lock"))
    assert left == sorted(f"worker-{name.replace(':', '-')}.lock" for name in (first, second))


def test_a_worker_expires_no_lease_after_its_own_outage(any_store: Store) -> None:
    first, second = (leases.register_worker(any_store, "cpu") for _ in range(2))
    long_ago = now() - timedelta(minutes=5)
    with any_store.begin() as session:
        for row in session.scalars(select(Worker)):
            row.heartbeat_at = long_ago
    # After an outage of the database both leases are late.
    assert leases.expire_leases(any_store, second) == ()
    leases.renew_lease(any_store, second)
    assert leases.expire_leases(any_store, second) == ()
    # A third worker without an outage expires the first lease.
    third = leases.register_worker(any_store, "cpu")
    assert leases.expire_leases(any_store, third) == (first,)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"measures": ["loss"]}, "measures"),
        ({"suite": ""}, "suite"),
        ({"corpus": None}, "corpus"),
    ],
)
def test_an_invalid_evaluation_is_refused_by_name(
    suite_store: Store, change: Any, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        submit(suite_store, "evaluate", {**EVALUATE, **change})
    assert refused.value.parameter == field
