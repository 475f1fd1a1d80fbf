"""Submission of jobs, and execution by worker processes that are killed."""

import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backend.corpora.heat import HeatRequest, heat
from backend.errors import ConflictError, InvalidInputError, NotFoundError
from backend.jobs import job_table, workflows
from backend.jobs.kinds.paste import MAX_TEXT
from backend.jobs.queue import submit
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests.stores import MARKUP, copy_store
from tests.workers import computed_units, running_worker, wait_until

CORPUS = "mini-held-out-60"
NEWLINE: dict[str, Any] = {"corpus": CORPUS, "document": 0, "target": "⏎", "checkpoints": "all"}


@pytest.fixture
def jobs_store(mini_store: Store, tmp_path: Path) -> Iterator[Store]:
    store = open_store(Settings(data_dir=copy_store(mini_store, tmp_path / "data")))
    yield store
    workflows.disconnect()
    store.engine.dispose()


@pytest.mark.slow
def test_the_next_worker_continues_a_killed_one_and_computes_nothing_twice(
    jobs_store: Store,
) -> None:
    folder = jobs_store.settings.data_dir
    job = submit(jobs_store, "measure", NEWLINE)  # before the first worker
    assert job.state == "queued"
    with running_worker(folder) as first:
        wait_until(lambda: job_table.get_job(jobs_store, job.id).done >= 3, "three units")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    half = job_table.get_job(jobs_store, job.id)
    assert half.state == "running"
    assert half.total is not None
    assert 3 <= half.done < half.total
    with running_worker(folder):
        wait_until(lambda: job_table.get_job(jobs_store, job.id).state == "finished", "the rest")
    done = job_table.get_job(jobs_store, job.id)
    assert done.done == done.total == half.total
    lines = computed_units(folder)
    # The unit in flight may be computed twice, a committed one never.
    assert half.total <= len(lines) <= half.total + 1
    assert len(set(lines)) == half.total
    frame = heat(jobs_store, CORPUS, 0, HeatRequest(measure="p_token", model="s1", step=0))
    assert frame.mean is not None
    assert 0 < frame.mean < 0.01  # an untrained model is near 1/2048


@pytest.mark.slow
def test_pasted_text_becomes_a_corpus_with_every_measure(jobs_store: Store) -> None:
    text = f"the device returns {MARKUP} 漢字 1, 2, 3\r\nand the driver\u2028"
    job = submit(jobs_store, "paste", {"text": text, "corpus": CORPUS})
    repeated = submit(jobs_store, "paste", {"text": text, "corpus": CORPUS})
    assert repeated.id == job.id
    with running_worker(jobs_store.settings.data_dir):
        wait_until(
            lambda: job_table.get_job(jobs_store, job.id).state in {"finished", "failed"}, "the job"
        )
    done = job_table.get_job(jobs_store, job.id)
    assert done.problem is None
    assert done.result is not None
    corpus = done.result["corpus"]
    assert done.page == f"/documents/{corpus}/0"
    for measure in ("loss", "rank", "entropy", "difference"):
        frame = heat(jobs_store, corpus, 0, HeatRequest(measure=measure))  # type: ignore[arg-type]
        assert frame.model == "s5"
        assert frame.values[0] is None
        assert len([v for v in frame.values if v is not None]) > 20
    assert workflows.sidecar_path(jobs_store.settings).is_file()
    mode = workflows.sidecar_path(jobs_store.settings).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.slow
def test_a_failed_unit_has_a_remedy_and_the_job_can_be_submitted_again(
    jobs_store: Store,
) -> None:
    from backend.store.tables import Checkpoint

    with jobs_store.begin() as session:
        for checkpoint in session.query(Checkpoint):
            checkpoint.location = str(jobs_store.settings.data_dir / "gone")
    job = submit(jobs_store, "measure", {**NEWLINE, "checkpoints": "one"})
    with running_worker(jobs_store.settings.data_dir):
        wait_until(lambda: job_table.get_job(jobs_store, job.id).state == "failed", "the failure")
    failed = job_table.get_job(jobs_store, job.id)
    assert failed.problem is not None
    assert "gone" in failed.problem
    assert failed.remedy
    assert submit(jobs_store, "measure", {**NEWLINE, "checkpoints": "one"}).id != job.id


def test_equal_requests_are_one_job_and_an_idempotency_key_names_it(jobs_store: Store) -> None:
    job = submit(jobs_store, "measure", NEWLINE, "key-1")
    assert submit(jobs_store, "measure", NEWLINE).id == job.id
    assert submit(jobs_store, "measure", NEWLINE, "key-1").id == job.id
    assert submit(jobs_store, "measure", {**NEWLINE, "target": "id:199"}).id == job.id
    other = submit(jobs_store, "measure", {**NEWLINE, "document": 1})
    assert other.id != job.id
    with pytest.raises(ConflictError, match="belongs to another request"):
        submit(jobs_store, "measure", {**NEWLINE, "document": 2}, "key-1")
    page = job_table.list_jobs(jobs_store, limit=1)
    assert (len(page.jobs), page.next_cursor) == (1, "1")
    newer = submit(jobs_store, "measure", {**NEWLINE, "document": 3})
    older = job_table.list_jobs(jobs_store, remaining=int(page.next_cursor))
    assert [view.id for view in older.jobs] == [job.id], "a job that came meanwhile moves no other"
    assert [view.id for view in job_table.list_open_jobs(jobs_store)] == [
        job.id,
        other.id,
        newer.id,
    ]


@pytest.mark.parametrize(
    ("which", "places"),
    [
        ("one", [["s5", 2000]]),
        ("final", [[f"s{i}", 2000] for i in range(1, 6)]),
    ],
)
def test_checkpoints_are_resolved_at_submission(
    jobs_store: Store, which: str, places: list[Any]
) -> None:
    params: Any = {**NEWLINE, "checkpoints": which}
    assert submit(jobs_store, "measure", params).parameters["checkpoints"] == places


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("measure", {"target": "no such token"}, "target"),
        ("measure", {"target": ""}, "target"),
        ("measure", {"document": None}, "document"),
        ("measure", {"corpus": ""}, "corpus"),
        ("paste", {"text": ""}, "text"),
        ("paste", {"text": " \n"}, "text"),
        ("paste", {"text": "a\0b"}, "text"),
        ("paste", {"text": "\ud800 x"}, "text"),
        ("paste", {"text": "x" * (MAX_TEXT + 1)}, "text"),
        ("paste", {"text": "x y", "checkpoints": "one"}, "checkpoints"),
    ],
)
def test_an_invalid_parameter_is_refused_by_name(
    jobs_store: Store, kind: Any, change: Any, field: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        submit(jobs_store, kind, {**(NEWLINE if kind == "measure" else {}), **change})
    assert refused.value.parameter == field
    assert job_table.list_open_jobs(jobs_store) == ()


def test_unknown_names_are_not_found(jobs_store: Store) -> None:
    for change in ({"corpus": "none"}, {"document": 999}, {"suite": "none"}, {"model": "s9"}):
        params: Any = {**NEWLINE, "checkpoints": "one", **change}
        with pytest.raises(NotFoundError):
            submit(jobs_store, "measure", params)
    with pytest.raises(NotFoundError):
        job_table.get_job(jobs_store, "j0")


@pytest.mark.slow
def test_a_pickled_row_in_the_engines_tables_is_never_unpickled(
    jobs_store: Store, tmp_path: Path
) -> None:
    import base64
    import pickle

    witness = tmp_path / "executed"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    folder = jobs_store.settings.data_dir
    job = submit(jobs_store, "measure", {**NEWLINE, "checkpoints": "one"})
    workflows.prepare(jobs_store.settings)
    with running_worker(folder):
        wait_until(lambda: job_table.get_job(jobs_store, job.id).state == "finished", "a first job")
    other = submit(jobs_store, "measure", {**NEWLINE, "document": 3, "checkpoints": "one"})
    inputs = base64.b64encode(pickle.dumps({"args": (Hostile(),), "kwargs": {}})).decode()
    with (
        closing(sqlite3.connect(workflows.sidecar_path(jobs_store.settings))) as connection,
        connection,
    ):
        for change, value in (
            ("workflow_status SET serialization", "py_pickle"),
            ("workflow_input SET inputs", inputs),
        ):
            changed = connection.execute(
                f"UPDATE {change} = ? WHERE workflow_uuid = ?", (value, other.id)
            )
            assert changed.rowcount == 1
    with running_worker(folder):
        wait_until(lambda: job_table.get_job(jobs_store, other.id).state == "failed", "the refusal")
    assert not witness.exists()
