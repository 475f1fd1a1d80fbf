"""Guarantees of jobs: idempotency, retries, attempts, crash counts, leases and estimates."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from backend.errors import ConflictError, InvalidInputError, QuantaError, StoreBusyError
from backend.jobs import engine, job_table, leases, queue, workflows
from backend.jobs.queue import submit
from backend.progress import Silent
from backend.settings import Settings
from backend.store import data_files as files
from backend.store.database import Store, open_store
from backend.store.tables import Annotation, Cluster, Clustering, Evaluation, Job, Worker
from backend.store.tables.base import now
from backend.upkeep.prune import prune
from tests import stores
from tests.rows import NEW, OLD, Builder
from tests.workers import running_worker, wait_until

CORPUS = "mini-held-out-60"
NEWLINE: dict[str, Any] = {"corpus": CORPUS, "document": 0, "target": "⏎", "checkpoints": "one"}
FAILURE = QuantaError("it failed", "try again")


@pytest.fixture
def jobs_store(mini_store: Store, tmp_path: Path) -> Iterator[Store]:
    store = open_store(Settings(data_dir=stores.copy_store(mini_store, tmp_path / "data")))
    yield store
    workflows.disconnect()
    store.engine.dispose()


def submit_measure(store: Store, key: str | None = None, **changes: Any) -> str:
    return queue.insert(store, "measure", NEWLINE | changes, key)[0].id


def test_an_idempotency_key_returns_its_job_in_any_state(jobs_store: Store) -> None:
    job = submit_measure(jobs_store)
    assert submit_measure(jobs_store, "late") == job, "the key is saved for the equal job"
    with pytest.raises(ConflictError, match="belongs to another request"):
        submit_measure(jobs_store, "late", document=1)
    job_table.fail(jobs_store, job, FAILURE)
    assert submit_measure(jobs_store, "late") == job, "a retry returns the same job"
    with pytest.raises(ConflictError, match="belongs to another request"):
        submit_measure(jobs_store, "late", document=1)
    retried = submit_measure(jobs_store, "other")
    assert retried != job, "another key submits a new job"
    assert submit_measure(jobs_store, "other") == retried


def test_of_two_equal_jobs_resumed_at_once_one_is_queued(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, meeting, real = Builder(any_store), threading.Barrier(2), job_table._lock_row
    pair = [build.job("measure", "failed", NEW, {"corpus": "home"}) for _ in range(2)]

    def lock_and_wait(*arguments: Any) -> Job:
        row = real(*arguments)
        with suppress(threading.BrokenBarrierError):  # SQLite has one writer
            meeting.wait(0.5)
        return row

    monkeypatch.setattr(job_table, "_lock_row", lock_and_wait)
    outcomes: list[str] = []

    def resume(job: str) -> None:
        try:
            outcomes.append(job_table.resume(any_store, job).state)
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=resume, args=(job,)) for job in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "queued"]


def test_cancel_and_finish_at_once_do_not_mix(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Builder(any_store).job("measure", "running", NEW, {"corpus": "home"})
    has_read, real = threading.Event(), job_table._lock_row

    def slow(*arguments: Any) -> Job:
        row = real(*arguments)
        if threading.current_thread().name == "cancels":
            has_read.set()
            time.sleep(0.5)
        return row

    monkeypatch.setattr(job_table, "_lock_row", slow)
    cancels = threading.Thread(target=job_table.cancel, args=(any_store, job), name="cancels")
    cancels.start()
    assert has_read.wait(10)
    job_table.finish(any_store, job, {"page": "/"})
    cancels.join()
    view = job_table.get_job(any_store, job)
    assert (view.state, view.result) == ("cancelled", None), "the first transaction wins"


def test_a_job_that_crashes_worker_after_worker_fails_and_can_be_resumed(jobs_store: Store) -> None:
    job = submit_measure(jobs_store)
    for number in range(job_table.MAX_CRASHES):
        worker = leases.register_worker(jobs_store, "cpu")
        start = job_table.start_unit if number else job_table.start_attempt
        arguments = (jobs_store, job, 1, worker)
        assert start(*arguments), number
        leases.release_lease(jobs_store, worker)
    worker = leases.register_worker(jobs_store, "cpu")
    assert not job_table.start_unit(jobs_store, job, 1, worker)
    failed = job_table.get_job(jobs_store, job)
    assert failed.state == "failed"
    assert "workers in a row ended while they computed this job" in (failed.problem or "")
    job_table.resume(jobs_store, job)
    assert job_table.start_attempt(jobs_store, job, 2, worker)


def test_completed_units_reset_the_crash_count(jobs_store: Store) -> None:
    job, worker = submit_measure(jobs_store), leases.register_worker(jobs_store, "cpu")
    assert job_table.start_attempt(jobs_store, job, 1, worker)
    for _ in range(2 * job_table.MAX_CRASHES):
        assert job_table.start_unit(jobs_store, job, 1, worker)
        job_table.release_unit(jobs_store, job, worker)


def test_only_units_of_the_current_plan_are_counted(jobs_store: Store) -> None:
    job, worker = submit_measure(jobs_store), leases.register_worker(jobs_store, "cpu")
    assert job_table.start_attempt(jobs_store, job, 1, worker)
    job_table.set_units(jobs_store, job, ["select", "0 of 2", "1 of 2", "cluster"])
    for unit in ("select", "0 of 2", "1 of 2"):
        job_table.complete_unit(
            jobs_store, job, job_table.CompletedUnit(unit, worker, 1.0, is_stored=False), None
        )
    job_table.fail(jobs_store, job, FAILURE)
    job_table.resume(jobs_store, job)
    assert job_table.start_attempt(jobs_store, job, 2, worker)
    job_table.set_units(jobs_store, job, ["select", "0 of 1", "cluster"])
    view = job_table.get_job(jobs_store, job)
    assert (view.done, view.total) == (1, 3)
    for unit in ("0 of 1", "cluster"):
        job_table.complete_unit(
            jobs_store, job, job_table.CompletedUnit(unit, worker, 1.0, is_stored=False), None
        )
    view = job_table.get_job(jobs_store, job)
    assert (view.done, view.total, view.fraction) == (3, 3, 1.0)


def test_an_earlier_attempt_does_not_start(jobs_store: Store) -> None:
    job, worker = submit_measure(jobs_store), leases.register_worker(jobs_store, "cpu")
    job_table.cancel(jobs_store, job)
    job_table.resume(jobs_store, job)
    assert not job_table.start_attempt(jobs_store, job, 1, worker)
    assert job_table.get_job(jobs_store, job).state == "queued"
    assert job_table.start_attempt(jobs_store, job, 2, worker)


@pytest.mark.slow
def test_jobs_for_a_gpu_do_not_block_workers_without_one(jobs_store: Store) -> None:
    settings = jobs_store.settings
    waiting = [
        submit(jobs_store, "measure", NEWLINE | {"document": number}, requires="cuda").id
        for number in range(engine.JOB_CONCURRENCY + 1)
    ]
    with running_worker(settings.data_dir, QUANTA_DEVICE="cpu"):
        other = submit(jobs_store, "measure", NEWLINE | {"document": 20})
        wait_until(
            lambda: job_table.get_job(jobs_store, other.id).state == "finished", "the other job"
        )
        assert {job_table.get_job(jobs_store, job).state for job in waiting} == {"queued"}
        assert set(workflows.list_queued(settings)) == set(waiting)
        for job in waiting:
            job_table.cancel(jobs_store, job)
        wait_until(lambda: not workflows.list_queued(settings), "an empty queue")
    assert workflows.delete_ended(settings, waiting) == waiting


@pytest.mark.slow
def test_a_job_fails_if_its_workflow_ended_without_it(jobs_store: Store) -> None:
    job = submit(jobs_store, "measure", NEWLINE)
    with running_worker(jobs_store.settings.data_dir):
        wait_until(lambda: job_table.get_job(jobs_store, job.id).state == "finished", "the job")
        with jobs_store.begin() as session:
            session.execute(update(Job).values(state="running", finished_at=None))
        wait_until(lambda: job_table.get_job(jobs_store, job.id).state == "failed", "its end")
    assert "no result" in (job_table.get_job(jobs_store, job.id).problem or "")


@pytest.mark.parametrize(
    ("flow", "attempt"), [("j1a", 1), ("j1a.3", 3), ("j1a-0-12", 1), ("j1a.2-1-0", 2)]
)
def test_a_workflow_id_contains_its_attempt(flow: str, attempt: int) -> None:
    assert workflows.attempt_of(flow) == ("j1a", attempt)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_expire_leases_skips_a_worker_in_a_commit(any_store: Store) -> None:
    busy, other = (leases.register_worker(any_store, "cpu") for _ in range(2))
    (any_store.settings.data_dir / f"worker-{busy.replace(':', '-')}.lock").unlink()
    with any_store.begin() as session:
        late = now() - timedelta(seconds=2 * leases.TTL_SECONDS)
        session.execute(update(Worker).where(Worker.id == busy).values(heartbeat_at=late))
    fenced = Store(any_store.engine, any_store.settings)
    fenced.fence = leases.make_fence(busy)
    with fenced.begin():
        began = time.monotonic()
        assert leases.expire_leases(any_store, other) == ()
        assert time.monotonic() - began < 5
    assert leases.expire_leases(any_store, other) == (busy,)


@pytest.mark.parametrize(
    "content",
    [b"\x93NUMPY\x01\x00\xff\xfe", b"a=" + b"[" * 100_000, b"# " + b"x" * 2_000_000, b"a = 1"],
    ids=["binary", "nested", "large", "no recipe"],
)
def test_an_invalid_recipe_is_refused(jobs_store: Store, content: bytes) -> None:
    path = files.imports_folder(jobs_store) / "x.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InvalidInputError):
        submit(jobs_store, "train_suite", {"recipe": "x.toml"})


def test_a_folder_with_a_zero_byte_is_refused(jobs_store: Store) -> None:
    with pytest.raises(InvalidInputError, match="is not a folder below imports"):
        files.folder_path(jobs_store, "a\0b", "recipe")


def test_large_files_are_read_one_at_a_time(
    jobs_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_WAIT_SECONDS", 0.1)
    folder = files.imports_folder(jobs_store)
    folder.mkdir(exist_ok=True)
    for name in ("known", "new"):
        (folder / name).write_bytes(name.encode())
    described = files.describe_file(jobs_store, "known", "file")
    with files._reading:
        assert files.describe_file(jobs_store, "known", "file") == described
        with pytest.raises(StoreBusyError, match="new has to wait"):
            files.describe_file(jobs_store, "new", "file")
    assert files.describe_file(jobs_store, "new", "file")["sha256"] != described["sha256"]


def _export(store: Store, **changes: Any) -> str:
    with store.session() as session:
        clustering = session.scalars(select(Clustering.id).order_by(Clustering.id)).first()
    params = {"what": "clusters", "format": "json", "clustering": clustering}
    return queue.insert(store, "export", params | changes)[0].id


def test_changed_labels_are_exported_again(jobs_store: Store) -> None:
    first = _export(jobs_store)
    assert _export(jobs_store) == first
    with jobs_store.begin() as session:
        cluster = session.scalars(
            select(Cluster).order_by(Cluster.clustering_id, Cluster.rank)
        ).first()
        assert cluster is not None
        session.execute(delete(Annotation).where(Annotation.cluster_id == cluster.id))
        session.add(Annotation(cluster_id=cluster.id, label="newlines", note="", tags=[]))
    assert _export(jobs_store) != first


def test_clusters_are_not_exported_without_their_answers(jobs_store: Store) -> None:
    with pytest.raises(InvalidInputError, match="context of at least 1"):
        _export(jobs_store, context=0)


@pytest.mark.parametrize(
    ("state", "at", "stays"),
    [
        ("cancelled", NEW, True),
        ("failed", NEW, True),
        ("failed", OLD, False),
        ("finished", NEW, False),
    ],
)
def test_committed_units_stay_while_the_job_can_be_resumed(
    any_store: Store, state: str, at: Any, stays: bool
) -> None:
    build = Builder(any_store)
    build.evaluation(build.corpus("home", OLD, "book"), OLD, done=False, chunk=OLD)
    job = build.job("evaluate", state, at, {"corpus": "home"})
    with any_store.begin() as session:
        session.execute(update(Job).where(Job.id == job).values(finished_at=at))
    prune(any_store, 30.0, Silent(), dry_run=False)
    with any_store.session() as session:
        assert bool(session.scalars(select(Evaluation.id)).all()) is stays


def test_stored_units_do_not_count_in_estimates(jobs_store: Store) -> None:
    from backend.jobs.estimates import estimate

    def finished(seconds: float, stored: Callable[[int], bool], **changes: Any) -> None:
        job, worker = (
            submit_measure(jobs_store, **changes),
            leases.register_worker(jobs_store, "cpu"),
        )
        assert job_table.start_attempt(jobs_store, job, 1, worker)
        for number in range(4):
            unit = job_table.CompletedUnit(f"u{number}", worker, seconds, is_stored=stored(number))
            job_table.complete_unit(jobs_store, job, unit, None)
        job_table.finish(jobs_store, job, {"page": "/"})

    finished(0.01, lambda _: True, document=1)
    assert estimate(jobs_store, "measure", NEWLINE).seconds is None
    finished(8.0, lambda number: number < 2, document=2)
    view = estimate(jobs_store, "measure", NEWLINE | {"document": 2})
    assert view.seconds == pytest.approx(32), "two of four units took 16 s"
    assert view.past_jobs == 1


def test_a_job_that_has_hardly_started_has_no_remaining_time(jobs_store: Store) -> None:
    job, worker = submit_measure(jobs_store), leases.register_worker(jobs_store, "cpu")
    assert job_table.start_attempt(jobs_store, job, 1, worker)
    job_table.set_units(jobs_store, job, ["u"])
    with jobs_store.begin() as session:
        long_ago = now() - timedelta(minutes=10)
        session.execute(update(Job).where(Job.id == job).values(started_at=long_ago))
    job_table.update_activity(jobs_store, job, "loading", 1, 1_000)
    view = job_table.get_job(jobs_store, job)
    assert (view.rate, view.seconds_left) == (0.0, None), "the rate rounds to zero"
