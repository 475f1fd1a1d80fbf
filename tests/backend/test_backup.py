"""Copies of a store: before migrations, on demand while others write, and back again."""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import alembic.command
import pytest
from sqlalchemy import text

from backend.errors import StoreError, StoreFullError
from backend.settings import Settings
from backend.store import sqlite_copies
from backend.store.automatic_backups import MAX_BACKUPS, automatic_backups
from backend.store.database import (
    Store,
    alembic_config,
    make_engine,
    open_store,
    revisions,
    upgrade_schema,
)
from backend.store.sqlite_copies import Snapshot


def value(path: Path, query: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchone()[0]


def older(folder: Path) -> Settings:
    """A store of the schema before the newest, with one suite in it."""
    config = Settings(data_dir=folder)
    store = open_store(config)
    with store.begin() as session:
        session.execute(text("INSERT INTO suite VALUES (1, 'kept', '', NULL, '2026-01-01')"))
    alembic.command.downgrade(alembic_config(store.engine), "-1")
    store.close()
    return config


@pytest.fixture
def old(tmp_path: Path) -> Settings:
    return older(tmp_path / "data")


def test_a_migration_is_preceded_by_a_private_and_sound_copy(old: Settings) -> None:
    engine = make_engine(old.url)
    before, head = revisions(engine)
    done = upgrade_schema(engine)
    engine.dispose()
    assert done.changed
    assert done.backup is not None
    assert done.backup.name.startswith(f"quanta.sqlite.backup-{before}-")
    assert stat.S_IMODE(done.backup.stat().st_mode) == 0o600
    assert value(done.backup, "SELECT version_num FROM alembic_version") == before != head
    assert value(done.backup, "SELECT name FROM suite") == "kept"
    assert value(done.backup, "PRAGMA integrity_check") == "ok"
    assert value(old.data_dir / "quanta.sqlite", "SELECT version_num FROM alembic_version") == head


def test_an_empty_or_a_current_store_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "quanta.sqlite").touch()
    for _ in range(2):
        open_store(Settings(data_dir=tmp_path)).close()
    assert automatic_backups(tmp_path / "quanta.sqlite") == []


def test_the_newest_automatic_copies_are_kept(old: Settings) -> None:
    made = []
    for _ in range(MAX_BACKUPS + 2):
        engine = make_engine(old.url)
        made.append(upgrade_schema(engine).backup)
        alembic.command.downgrade(alembic_config(engine), "-1")
        engine.dispose()
    assert automatic_backups(old.data_dir / "quanta.sqlite") == made[-MAX_BACKUPS:]


def test_a_migration_that_fails_leaves_the_store_and_names_the_copy(
    old: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations import Operations

    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "get_bind", failing)  # of the newest migration
        with pytest.raises(StoreError, match=r"no such luck.*as it was; a copy from before is"):
            open_store(old)
    (copy,) = automatic_backups(old.data_dir / "quanta.sqlite")
    assert value(copy, "SELECT name FROM suite") == "kept"
    store = open_store(old)
    with store.session() as session:
        assert session.execute(text("SELECT name FROM suite")).scalar_one() == "kept"
    store.close()


def test_without_room_for_the_copy_nothing_is_migrated(
    old: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = revisions(make_engine(old.url))
    monkeypatch.setattr(sqlite_copies.shutil, "disk_usage", lambda _: SimpleNamespace(free=12_345))
    with pytest.raises(StoreFullError, match=r"needs [\d,]+ bytes, 12,345 bytes are available"):
        open_store(old)
    assert revisions(make_engine(old.url)) == before
    assert automatic_backups(old.data_dir / "quanta.sqlite") == []


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Path]:
    """A file into which another connection writes pairs all the time, in one transaction each."""
    path = tmp_path / "busy.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE pair (half INTEGER, filler BLOB)")
        for _ in range(2000):
            connection.execute("INSERT INTO pair VALUES (0, zeroblob(8000))")
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            while not ended.is_set():
                connection.execute("BEGIN")
                connection.execute("INSERT INTO pair VALUES (1, zeroblob(8000))")
                connection.execute("INSERT INTO pair VALUES (-1, zeroblob(8000))")
                connection.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    yield path
    ended.set()
    thread.join()


def test_a_copy_under_constant_writing_is_one_moment_and_comes_to_an_end(
    busy: Path, tmp_path: Path
) -> None:
    steps: list[int] = []
    with Snapshot(busy) as snapshot:
        then = snapshot._connection.execute("SELECT COUNT(*) FROM pair").fetchone()[0]
        expected = snapshot.n_bytes
        snapshot.write(tmp_path / "copy.sqlite", steps.append)
    assert value(tmp_path / "copy.sqlite", "SELECT COUNT(*) FROM pair") == then
    assert value(tmp_path / "copy.sqlite", "SELECT SUM(half) FROM pair") == 0
    assert value(busy, "SELECT COUNT(*) FROM pair") != then
    assert len(steps) > 1
    assert sum(steps) == expected == (tmp_path / "copy.sqlite").stat().st_size


def test_a_copy_that_cannot_be_finished_leaves_no_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_copies, "sync", failing)
    with (
        Snapshot(store.settings.data_dir / "quanta.sqlite") as snapshot,
        pytest.raises(StoreFullError),
    ):
        snapshot.write(tmp_path / "copy.sqlite")
    assert not (tmp_path / "copy.sqlite").exists()
