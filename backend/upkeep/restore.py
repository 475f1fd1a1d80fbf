"""`quanta restore`: a checked and migrated backup takes the place of the store, which is kept."""

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
    """What was restored, and where the store from before is."""

    manifest: Manifest
    migrated: bool
    aside: tuple[str, ...]


def restore(settings: Settings, file: Path, progress: Progress) -> RestoreResult:
    """Replace the store by a backup; before everything is checked nothing changes.

    Caches stay: they are named by the hash of what they hold.

    Raises:
        InvalidInputError: the file is no backup, or one of another kind of database.
        StoreBusyError: somebody uses the store.
        StoreError: damaged, newer than this program, or it cannot be put in place.
    """
    folder = settings.data_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with Archive(file) as archive, directory_lock.lock_exclusive(folder):
            if leases.has_running_worker(folder):
                raise directory_lock.store_in_use(folder)
            engine = make_engine(settings.url)
            try:
                return _restored(engine, folder, archive, progress)
            finally:
                engine.dispose()
    except Exception as error:
        if (fault := as_store_error(error)) is not None and fault is not error:
            raise fault from error
        raise


def _restored(engine: Engine, folder: Path, archive: Archive, progress: Progress) -> RestoreResult:
    check_revision(engine, archive.manifest.revision)
    path = embedded_file(engine)
    kind = "postgresql" if path is None else "sqlite"
    if archive.manifest.database != kind:
        raise InvalidInputError(
            f"{archive.path} is a backup of a {archive.manifest.database} store, this is {kind}",
            "Set QUANTA_DATABASE_URL to a database of the backup's kind",
        )
    home = folder if path is None else path.resolve().parent
    check_room(home, archive.n_bytes)
    with TemporaryDirectory(prefix=STAGING, dir=home) as name:
        staged = Path(name)
        with progress.task("read and check", archive.n_bytes, unit="bytes") as bar:
            for part in archive.manifest.parts:
                archive.extract(part, staged, bar.advance)
        if path is None:
            return _into_postgresql(engine, archive.manifest, staged / DUMP)
        migrated = _prepared(staged, archive.manifest)
        aside = _swapped(staged, path.resolve(), folder / JOBS)
    return RestoreResult(archive.manifest, migrated, tuple(str(kept) for kept in aside))


def _prepared(staged: Path, manifest: Manifest) -> bool:
    """Check the files that were read, and bring the store to this program's schema."""
    for part in manifest.parts:
        with closing(sqlite3.connect(staged / part.name, isolation_level=None)) as connection:
            quick_check(connection, part.name)
            if part.name == STORE and schema_revision(connection) != manifest.revision:
                raise InvalidInputError(
                    f"the store in it is at another revision than {manifest.revision}",
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


def _quiet(path: Path) -> None:
    """Bring what is in a file's log into it; nobody else may have it open.

    Raises:
        StoreBusyError: somebody has.
    """
    try:
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as connection:
            settle(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise directory_lock.store_in_use(path.parent) from error
        # Damaged, which may be why it is replaced: it is kept with its log as it is.


def _swapped(staged: Path, store: Path, jobs: Path) -> list[Path]:
    """Put the files in place; the store's own file is exchanged in one step.

    The engine's tables are away while that happens: whatever ends in between, a worker makes them
    anew and takes open jobs from the store.
    """
    for path in (store, jobs):
        if path.is_file():
            _quiet(path)
    at, aside = timestamp(), []
    if jobs.is_file():
        aside += _set_aside(jobs, at)
        jobs.unlink()
    with _put_back_on_failure(aside, jobs):
        if store.is_file():
            aside += _set_aside(store, at)
        for end in ("-wal", "-shm"):
            store.with_name(store.name + end).unlink(missing_ok=True)
            jobs.with_name(jobs.name + end).unlink(missing_ok=True)
        os.replace(staged / STORE, store)
        sync(store.parent)
    if (staged / JOBS).is_file():
        os.replace(staged / JOBS, jobs)
    sync(jobs.parent)
    return aside


def _set_aside(path: Path, at: str) -> list[Path]:
    """Keep a file, and a log that could not be brought into it, under another name too."""
    kept = []
    for end in ("", "-wal"):
        source = path.with_name(path.name + end)
        if source.is_file():
            target = path.with_name(f"{path.name}{ASIDE}{at}{end}")
            try:
                os.link(source, target)
            except OSError:  # a file system without links
                shutil.copy2(source, target)
                sync(target)
            kept.append(target)
    return kept


@contextmanager
def _put_back_on_failure(aside: list[Path], jobs: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for kept in aside:
            if kept.name.startswith(f"{jobs.name}{ASIDE}") and not jobs.exists():
                os.replace(kept, jobs)
        raise


def _into_postgresql(engine: Engine, manifest: Manifest, file: Path) -> RestoreResult:
    if others(engine):
        raise directory_lock.store_in_use(engine.url.render_as_string())
    replacement = postgres_copies.Replacement(engine, timestamp())
    replacement.put(file)
    try:
        migrated = upgrade_schema(engine).changed
    except BaseException:
        replacement.undo()
        raise
    return RestoreResult(manifest, migrated, tuple(replacement.aside))


def others(engine: Engine) -> int:
    """Return how many other programs are connected to a server's database.

    Raises:
        StoreError: the server does not answer.
    """
    try:
        return postgres_copies.others(engine)
    except Exception as error:
        raise as_store_error(error) or StoreError(
            str(error), "Check QUANTA_DATABASE_URL"
        ) from error
