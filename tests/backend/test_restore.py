"""A backup file is whole or absent, and a restored store is the one that was backed up."""

import io
import json
import os
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import alembic.command
import pytest
from sqlalchemy import select, text

from backend.errors import (
    InvalidInputError,
    NotFoundError,
    QuantaError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from backend.jobs import leases
from backend.progress import Silent
from backend.settings import Settings
from backend.store.database import Store, alembic_config, open_store, revisions
from backend.store.tables import Suite
from backend.upkeep import postgres_copies
from backend.upkeep import restore as restores
from backend.upkeep.archives import JOBS, MANIFEST, STORE
from backend.upkeep.backup import make_backup
from backend.upkeep.restore import restore
from tests.processes import quanta, running_server

NOTHING = Silent()


def add_suite(config: Settings, name: str) -> None:
    store = open_store(config)
    with store.begin() as session:
        session.add(Suite(name=name, description="", tokenizer_key=None))
    store.close()


def suites(config: Settings) -> list[str]:
    store = open_store(config)
    with store.session() as session:
        result = list(session.scalars(select(Suite.name).order_by(Suite.name)))
    store.close()
    return result


def add_jobs_file(config: Settings, value: int) -> None:
    with closing(sqlite3.connect(config.data_dir / JOBS)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS row (value INTEGER)")
        connection.execute("DELETE FROM row")
        connection.execute("INSERT INTO row VALUES (?)", (value,))


def jobs_value(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        result: int = connection.execute("SELECT value FROM row").fetchone()[0]
    return result


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Settings:
    """A store of each kind with the suite `before` in it."""
    made = Settings(data_dir=tmp_path / "data", database_url=database_url)
    add_suite(made, "before")
    return made


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    made = Settings(data_dir=tmp_path / "data")
    add_suite(made, "before")
    add_jobs_file(made, 1)
    return made


def test_what_was_backed_up_comes_back_and_what_was_there_is_kept(
    config: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "a.quanta"
    made = make_backup(config, file, NOTHING)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.manifest.revision == "0010"
    add_suite(config, "later")
    done = restore(config, file, NOTHING)
    assert done.manifest == made.manifest
    assert suites(config) == ["before"]
    assert len(done.aside) >= 1
    assert restore(config, file, NOTHING).aside  # and again
    add_suite(config, "written after")
    assert suites(config) == ["before", "written after"]


def test_the_store_before_a_restore_can_be_opened(embedded: Settings, tmp_path: Path) -> None:
    make_backup(embedded, tmp_path / "a.quanta", NOTHING)
    add_suite(embedded, "later")
    add_jobs_file(embedded, 2)
    done = restore(embedded, tmp_path / "a.quanta", NOTHING)
    jobs, store = (Path(name) for name in done.aside)
    assert jobs_value(jobs) == 2
    assert jobs_value(embedded.data_dir / JOBS) == 1
    retained = Settings(database_url=f"sqlite:///{store}", data_dir=tmp_path / "elsewhere")
    assert suites(retained) == ["before", "later"]
    assert not list(embedded.data_dir.glob(f"{restores.STAGING}*"))


def test_a_backup_of_an_older_schema_is_migrated_and_of_a_newer_refused(
    config: Settings, tmp_path: Path
) -> None:
    store = open_store(config)
    alembic.command.downgrade(alembic_config(store.engine), "-1")
    make_backup(config, tmp_path / "old.quanta", NOTHING)
    store.close()
    add_suite(config, "later")
    assert restore(config, tmp_path / "old.quanta", NOTHING).migrated
    store = open_store(config)
    current, head = revisions(store.engine)
    assert current == head
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    make_backup(config, tmp_path / "new.quanta", NOTHING)
    with store.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    store.close()
    with pytest.raises(StoreError, match="revision 9999, which this program does not know"):
        restore(config, tmp_path / "new.quanta", NOTHING)
    assert suites(config) == ["before"]


def test_a_file_is_replaced_only_when_that_is_asked_for(embedded: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a.quanta"
    file.write_text("mine")
    with pytest.raises(InvalidInputError, match="exists"):
        make_backup(embedded, file, NOTHING)
    assert file.read_text() == "mine"
    make_backup(embedded, file, NOTHING, force=True)
    assert restore(embedded, file, NOTHING).manifest.parts[0].name == JOBS


def test_a_backup_that_fails_leaves_the_old_file_and_nothing_else(
    embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.quanta").write_text("mine")

    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(StoreFullError, match="disk is full"):
        make_backup(embedded, folder / "a.quanta", NOTHING, force=True)
    assert [p.name for p in folder.iterdir()] == ["a.quanta"]
    assert (folder / "a.quanta").read_text() == "mine"


def test_a_folder_without_a_store_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no store at"):
        make_backup(Settings(data_dir=tmp_path / "none"), tmp_path / "a", NOTHING)
    assert not (tmp_path / "a").exists()


def test_an_open_store_a_worker_and_another_connection_refuse_a_restore(
    embedded: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "a.quanta"
    make_backup(embedded, file, NOTHING)
    store = open_store(embedded)
    with pytest.raises(StoreBusyError, match="a worker or another quanta command"):
        restore(embedded, file, NOTHING)
    store.close()
    lock = leases._try_lock(leases._lock_path(embedded.data_dir, "host:cpu:1"))
    assert lock is not None
    with pytest.raises(StoreBusyError):
        restore(embedded, file, NOTHING)
    os.close(lock)
    with closing(sqlite3.connect(embedded.data_dir / STORE)) as stranger:
        stranger.execute("SELECT * FROM suite").fetchall()
        with pytest.raises(StoreBusyError):
            restore(embedded, file, NOTHING)
        assert (embedded.data_dir / JOBS).is_file()
    restore(embedded, file, NOTHING)


def test_while_a_backup_is_restored_nothing_else_opens_the_store(embedded: Settings) -> None:
    from backend.store import directory_lock

    with (
        directory_lock.lock_exclusive(embedded.data_dir),
        pytest.raises(StoreBusyError, match="being restored"),
    ):
        open_store(embedded)
    open_store(embedded).close()


def test_a_postgresql_store_that_others_use_is_not_replaced(
    postgres_url: str, tmp_path: Path
) -> None:
    config = Settings(data_dir=tmp_path / "data", database_url=postgres_url)
    add_suite(config, "before")
    make_backup(config, tmp_path / "a.quanta", NOTHING)
    elsewhere = open_store(Settings(data_dir=tmp_path / "other", database_url=postgres_url))
    with elsewhere.session() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(StoreBusyError):
            restore(config, tmp_path / "a.quanta", NOTHING)
    elsewhere.close()


def test_without_the_servers_programs_the_remedy_is_named(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(data_dir=tmp_path / "data", database_url=postgres_url)
    add_suite(config, "before")
    monkeypatch.setattr(postgres_copies, "_candidates", lambda _: iter(()))
    with pytest.raises(StoreError, match=r"pg_dump of PostgreSQL \d+ is needed.*postgresql-client"):
        make_backup(config, tmp_path / "a.quanta", NOTHING)
    assert not (tmp_path / "a.quanta").exists()


def test_a_dump_that_cannot_be_restored_leaves_the_postgresql_store(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Settings(data_dir=tmp_path / "data", database_url=postgres_url)
    add_suite(config, "before")
    make_backup(config, tmp_path / "a.quanta", NOTHING)
    add_suite(config, "later")
    real = postgres_copies._run

    def broken(engine: Any, name: str, *arguments: str) -> None:
        Path(arguments[-1]).write_bytes(b"PGDMP no more")
        real(engine, name, *arguments)

    monkeypatch.setattr(postgres_copies, "_run", broken)
    with pytest.raises(StoreError, match="pg_restore failed"):
        restore(config, tmp_path / "a.quanta", NOTHING)
    assert suites(config) == ["before", "later"]


Change = Callable[[dict[str, bytes], dict[str, Any]], None]


def rewritten(file: Path, change: Change) -> Path:
    """The backup with its entries or its manifest changed."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(entries.pop(MANIFEST))
    change(entries, manifest)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, json.dumps(manifest))
    return file


def renamed(name: str) -> Change:
    def change(entries: dict[str, bytes], manifest: dict[str, Any]) -> None:
        entries[name] = entries.pop(STORE)
        for part in manifest["parts"]:
            part["name"] = name if part["name"] == STORE else part["name"]

    return change


def flipped(entries: dict[str, bytes], _: dict[str, Any]) -> None:
    data = entries[STORE]
    entries[STORE] = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


CHANGES: dict[str, tuple[Change, str]] = {
    "a flipped bit": (flipped, "checksum"),
    "a shorter part": (lambda e, m: e.update({STORE: e[STORE][:-1]}), "bytes long"),
    "a part too many": (lambda e, m: e.update({"x": b""}), "its manifest names"),
    "a part too few": (lambda e, m: e.pop(JOBS) and None, "its manifest names"),
    "a way out": (renamed("../evil.sqlite"), "not those of"),
    "an absolute way": (renamed("/tmp/evil.sqlite"), "not those of"),
    "a newer format": (lambda e, m: m.update(format_version=2), "format 2"),
    "another program": (lambda e, m: m.update(format="x"), "another program"),
    "another database": (lambda e, m: m.update(database="postgresql"), "not those of"),
    "another revision": (lambda e, m: m.update(revision="0005"), "another revision"),
    "a newer revision": (lambda e, m: m.update(revision="9999"), "does not know"),
    "no parts": (lambda e, m: m.update(parts=[]), "manifest"),
    "no object": (lambda e, m: m.clear(), "manifest"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_backup_is_refused_and_nothing_is_touched(
    name: str, embedded: Settings, tmp_path: Path
) -> None:
    change, words = CHANGES[name]
    make_backup(embedded, tmp_path / "a.quanta", NOTHING)
    add_suite(embedded, "later")
    file = rewritten(tmp_path / "a.quanta", change)
    before = sorted(os.listdir(embedded.data_dir))
    with pytest.raises(QuantaError, match=words):
        restore(embedded, file, NOTHING)
    assert sorted(os.listdir(embedded.data_dir)) == before
    assert suites(embedded) == ["before", "later"]
    assert not (tmp_path / "evil.sqlite").exists()


def with_link(file: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            if entry.filename == STORE:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            new.writestr(entry, old.read(entry.filename))
    return out.getvalue()


def test_links_and_cut_or_foreign_files_are_refused(embedded: Settings, tmp_path: Path) -> None:
    file = tmp_path / "a.quanta"
    make_backup(embedded, file, NOTHING)
    whole = file.read_bytes()
    for data in (with_link(file), whole[:-200], whole[: len(whole) // 2], b"", b"PK", b"no zip"):
        file.write_bytes(data)
        with pytest.raises(InvalidInputError, match="not a usable backup"):
            restore(embedded, file, NOTHING)
    with pytest.raises(InvalidInputError, match="not a usable backup"):
        restore(embedded, tmp_path / "absent", NOTHING)
    assert suites(embedded) == ["before"]


def test_a_restore_that_fails_in_the_middle_leaves_store_and_jobs(
    embedded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_backup(embedded, tmp_path / "a.quanta", NOTHING)
    add_suite(embedded, "later")
    add_jobs_file(embedded, 2)
    real = os.replace

    def failing(source: Any, target: Any) -> None:
        if Path(target).name == STORE:
            raise OSError(5, "Input/output error")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="Input/output"):
            restore(embedded, tmp_path / "a.quanta", NOTHING)
    assert suites(embedded) == ["before", "later"]
    assert jobs_value(embedded.data_dir / JOBS) == 2


@pytest.mark.slow
def test_a_served_store_is_backed_up_and_not_restored(embedded: Settings, tmp_path: Path) -> None:
    (embedded.data_dir / JOBS).unlink()
    file = tmp_path / "a.quanta"
    with running_server(embedded.data_dir):
        made = quanta(embedded.data_dir, "backup", str(file), "--json")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["manifest"]["database"] == "sqlite"
        refused = quanta(embedded.data_dir, "restore", str(file), "--json")
        assert refused.returncode == 2
        assert "Stop `quanta serve`" in refused.stderr
    done = quanta(embedded.data_dir, "restore", str(file), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["migrated"] is False
    assert suites(embedded) == ["before"]


def test_a_backup_holds_the_whole_store(mini_store: Store, tmp_path: Path) -> None:
    from backend.store.content_hash import content_hash

    make_backup(mini_store.settings, tmp_path / "a.quanta", NOTHING)
    config = Settings(data_dir=tmp_path / "new")
    restore(config, tmp_path / "a.quanta", NOTHING)
    store = open_store(config)
    assert content_hash(store) == content_hash(mini_store)
    store.close()
