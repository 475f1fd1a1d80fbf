"""Pruning of files, the engine's notes and unused space, and the command."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.jobs import workflows
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import Evaluation, Job, LossChunk
from backend.upkeep.prune import reusable_bytes, vacuum_database
from tests.backend.pruning import ids, removed
from tests.processes import quanta
from tests.rows import NEW, OLD, Builder


@pytest.fixture
def build(any_store: Store) -> Builder:
    return Builder(any_store)


@pytest.fixture
def engine_tables(build: Builder) -> Iterator[Builder]:
    """The job engine's tables, as a worker makes them."""
    from dbos import DBOS, DBOSConfig

    config = build.store.settings
    workflows.prepare(config)
    made: DBOSConfig = {
        "name": workflows.NAME,
        "system_database_url": workflows.system_url(config),
        "application_version": workflows.VERSION,
        "serializer": workflows.SERIALIZER,
        "log_level": "WARNING",
    }
    DBOS(config=made)
    DBOS.launch()
    DBOS.destroy()
    yield build
    workflows.disconnect()


@pytest.mark.slow
def test_the_engine_forgets_ended_jobs_and_no_others(engine_tables: Builder) -> None:
    build, config = engine_tables, engine_tables.store.settings
    ended = build.job("measure", "failed", OLD, {"corpus": "home"})
    going_on = build.job("measure", "finished", OLD, {"corpus": "home"})
    assert workflows.enqueue(config, ended, 1)
    assert workflows.enqueue(config, going_on, 1)
    workflows.cancel(config, [ended])
    assert removed(build.store)["ended jobs"].count == 1
    assert ids(build.store, Job) == {going_on}
    assert workflows.load_states(config, [ended, going_on]) == {going_on: "ENQUEUED"}


def test_exported_files_go_with_their_jobs(build: Builder) -> None:
    store = build.store
    folder = store.settings.data_dir / "exports"
    for name, when in (("old.csv", OLD), ("new.csv", NEW), ("shared.csv", OLD)):
        aged(folder / name, 90)
        build.job("export", "finished", when, {"of": []}, {"file": name})
    build.job("export", "finished", NEW, {"of": []}, {"file": "shared.csv"})
    aged(folder / "young.csv", 0)
    assert removed(store, dry_run=True)["exported files"].count == 1
    assert removed(store)["exported files"].count == 1
    assert sorted(path.name for path in folder.iterdir()) == ["new.csv", "shared.csv", "young.csv"]


def aged(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_caches_that_nobody_opens_and_parts_that_were_given_up_go(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cache, data = store.settings.cache_dir, store.settings.data_dir
    text = aged(tmp_path / "tmp" / "quanta-paste-x" / "paste.jsonl", 2)
    os.utime(text.parent, (text.stat().st_mtime,) * 2)
    gone = [
        aged(cache / "losses-1.npy", 40),
        aged(cache / "losses-2.npyabc.part", 2),
        aged(data / ".quanta-abc.part", 2),
        text,
    ]
    outside = aged(tmp_path / "mine.npy", 90)
    (cache / "link.npy").symlink_to(outside)
    retained = [
        aged(cache / "losses-3.npy", 20),
        aged(cache / "losses-4.npyabc.part", 0.5),
        aged(tmp_path / "tmp" / "quanta-paste-y" / "paste.jsonl", 0),
        aged(data / "notes.txt", 90),
        outside,
        data / "quanta.sqlite",
    ]
    done = removed(store)
    assert (done["unused caches"].count, done["unused caches"].n_bytes) == (1, 100)
    assert done["parts of files"].count == 3
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in retained)


def test_unused_space_is_told_and_given_back(store: Store) -> None:
    build = Builder(store)
    home = build.corpus("home", OLD, "book")
    for _ in range(4):
        key = build.evaluation(home, OLD, done=False, chunk=None)
        big = arrays.columns(np.zeros(500_000, np.float16))
        build.add(LossChunk(evaluation_id=key, chunk=0, created_at=OLD, **big))
    file = store.settings.data_dir / "quanta.sqlite"
    assert removed(store)["unfinished evaluations"].n_bytes == 4_000_000
    assert (reusable_bytes(store) or 0) >= 4_000_000
    vacuum_database(store)
    assert reusable_bytes(store) == 0
    assert file.stat().st_size < 1_000_000


@pytest.mark.slow
def test_the_command_shows_first_and_removes_with_yes(store: Store) -> None:
    build = Builder(store)
    build.evaluation(build.corpus("home", OLD, "book"), OLD, done=False, chunk=OLD)
    folder = store.settings.data_dir
    displayed = quanta(folder, "prune", "--days", "30")
    assert displayed.returncode == 0, displayed.stderr
    assert "unfinished evaluations: 1 (3 rows, 16 bytes)" in displayed.stdout
    assert "nothing is removed without --yes" in displayed.stdout
    assert len(ids(store, Evaluation)) == 1
    done = json.loads(quanta(folder, "prune", "--yes", "--vacuum", "--json").stdout)
    assert (done["removed"], done["rows"], done["bytes"]) == (True, 3, 16)
    assert done["reusable_bytes"] == 0
    assert ids(store, Evaluation) == set()
