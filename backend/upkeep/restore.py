"""`quanta restore`: replaces the store by a checked and migrated backup; keeps the old store."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from backend.errors import InvalidInputError, StoreError
from backend.jobs import leases
from backend.progress import Progress
from backend.settings import Settings
from backend.store import directory_lock
from backend.store.automatic_backups import embedded_file, timestamp
from backend.store.database import check_revision, make_engine, upgrade_schema
from backend.store.database_errors import as_store_error
from backend.store.sqlite_copies import check_room, quick_check, schema_revision, settle, sync
from backend.upkeep import postgres_copies
from backend.upkeep.archives import DUMP, JOBS, STORE, Archive, Manifest

STAGING = ".quanta-restore-"
ASIDE = ".before-restore-"


@dataclass(frozen=True)
class RestoreResult:
    """The restored backup; `aside` are the files or schemas of the previous store."""

    manifest: Manifest
    migrated: bool
    aside: tuple[str, ...]


def restore(settings: Settings, file: Path, progress: Progress) -> RestoreResult:
    """Replace the store by a backup; nothing changes before everything is checked.

    Caches stay valid, because they are named by the hash of their contents.

    Raises:
        InvalidInputError: the file is not a backup, or of another kind of database.
        StoreBusyError: another program uses the store.
        StoreError: the backup is damaged, newer than this program, or cannot be installed.
    """
    folder = settings.data_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Archive(file) as archive, directory_lock.lock_exclusive(folder):
            if leases.has_running_worker(folder):
                raise directory_lock.store_in_use(folder)
            engine = make_engine(settings.url)
            try:
                return _restore(engine, folder, archive, progress)
            finally:
                engine.dispose()
    except Exception as error:
        store_error = as_store_error(error)
        if store_error is not None and store_error is not error:
            raise store_error from error
        raise


def _restore(engine: Engine, folder: Path, archive: Archive, progress: Progress) -> RestoreResult:
    check_revision(engine, archive.manifest.revision)
    path = embedded_file(engine)
    kind = "postgresql" if path is None else "sqlite"
    if archive.manifest.database != kind:
        raise InvalidInputError(
            f"{archive.path} is a backup of a {archive.manifest.database} store, this is {kind}",
            "Set QUANTA_DATABASE_URL to a database of the backup's kind",
        )
    target = folder if path is None else path.resolve().parent
    check_room(target, archive.n_bytes)
    with TemporaryDirectory(prefix=STAGING, dir=target) as name:
        staged = Path(name)
        with progress.task("read and check", archive.n_bytes, unit="bytes") as bar:
            for part in archive.manifest.parts:
                archive.extract(part, staged, bar.advance)
        if path is None:
            return _restore_postgresql(engine, archive.manifest, staged / DUMP)
        migrated = _prepare(staged, archive.manifest)
        aside = _swap(staged, path.resolve(), folder / JOBS)
    return RestoreResult(archive.manifest, migrated, tuple(map(str, aside)))


def _prepare(staged: Path, manifest: Manifest) -> bool:
    """Check the extracted files and migrate the store; return whether the schema changed."""
    for part in manifest.parts:
        with closing(sqlite3.connect(staged / part.name, isolation_level=None)) as connection:
            quick_check(connection, part.name)
            if part.name == STORE and schema_revision(connection) != manifest.revision:
                raise InvalidInputError(
                    f"its store is at another revision than {manifest.revision}",
                    "Give a file that `quanta backup` wrote",
                )
    engine = make_engine(f"sqlite:///{staged / STORE}")
    try:
        migrated = upgrade_schema(engine, with_backup=False).changed
    finally:
        engine.dispose()
    for part in manifest.parts:
        with closing(sqlite3.connect(staged / part.name, isolation_level=None)) as connection:
            settle(connection)
        sync(staged / part.name)
    return migrated


def _merge_log(path: Path) -> None:
    """Merge a file's write-ahead log into it.

    Raises:
        StoreBusyError: another program has the file open.
    """
    try:
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as connection:
            settle(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise directory_lock.store_in_use(path.parent) from error
        # A damaged file is kept with its log.


def _swap(staged: Path, store: Path, jobs: Path) -> list[Path]:
    """Install the files; return the previous ones. The store's file is replaced atomically.

    The engine's file is absent meanwhile: after an interruption a worker recreates it and queues
    the store's open jobs again.
    """
    for path in (store, jobs):
        if path.is_file():
            _merge_log(path)
    stamp, aside = timestamp(), []
    if jobs.is_file():
        aside += _set_aside(jobs, stamp)
        jobs.unlink()
    with _put_back_on_failure(aside, jobs):
        if store.is_file():
            aside += _set_aside(store, stamp)
        for suffix in ("-wal", "-shm"):
            store.with_name(store.name + suffix).unlink(missing_ok=True)
            jobs.with_name(jobs.name + suffix).unlink(missing_ok=True)
        os.replace(staged / STORE, store)
        sync(store.parent)
    if (staged / JOBS).is_file():
        os.replace(staged / JOBS, jobs)
    sync(jobs.parent)
    return aside


def _set_aside(path: Path, stamp: str) -> list[Path]:
    """Link a file, and an unmerged log, under another name; return the links."""
    links = []
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.is_file():
            target = path.with_name(f"{path.name}{ASIDE}{stamp}{suffix}")
            try:
                os.link(source, target)
            except OSError:  # a file system without hard links
                shutil.copy2(source, target)
                sync(target)
            links.append(target)
    return links


@contextmanager
def _put_back_on_failure(aside: list[Path], jobs: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for link in aside:
            if link.name.startswith(f"{jobs.name}{ASIDE}") and not jobs.exists():
                os.replace(link, jobs)
        raise


def _restore_postgresql(engine: Engine, manifest: Manifest, file: Path) -> RestoreResult:
    if _count_connections(engine):
        raise directory_lock.store_in_use(engine.url.render_as_string())
    replacement = postgres_copies.Replacement(engine, timestamp())
    replacement.install(file)
    try:
        migrated = upgrade_schema(engine).changed
    except BaseException:
        replacement.undo()
        raise
    return RestoreResult(manifest, migrated, tuple(replacement.aside))


def _count_connections(engine: Engine) -> int:
    """Return the number of other connections to a server's database.

    Raises:
        StoreError: the server does not answer.
    """
    try:
        return postgres_copies.count_other_connections(engine)
    except Exception as error:
        raise as_store_error(error) or StoreError(
            str(error), "Check QUANTA_DATABASE_URL"
        ) from error
