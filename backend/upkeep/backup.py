"""`quanta backup`: copies the store and the job engine's tables into one file, online."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine

from backend.errors import NotFoundError, StoreError
from backend.progress import Progress
from backend.settings import Settings
from backend.store.automatic_backups import embedded_file
from backend.store.database import make_engine, revisions
from backend.store.database_errors import as_store_error
from backend.store.sqlite_copies import Snapshot, check_room, private_file
from backend.upkeep import postgres_copies
from backend.upkeep.archives import (
    DUMP,
    JOBS,
    STORE,
    BackupSource,
    Manifest,
    check_target,
    write_archive,
)

STAGING = ".quanta-backup-"


@dataclass(frozen=True)
class BackupResult:
    """A finished backup."""

    file: Path
    n_bytes: int
    manifest: Manifest


def make_backup(
    settings: Settings, target: Path, progress: Progress, *, force: bool = False
) -> BackupResult:
    """Write one consistent backup while servers and workers run.

    Raises:
        InvalidInputError: the file exists, and `force` is not given.
        NotFoundError: there is no store.
        StoreError, StoreFullError: the store cannot be copied; no file is left.
    """
    target = target.absolute()
    check_target(target, force)
    try:
        with TemporaryDirectory(prefix=STAGING, dir=target.parent) as folder:
            sources, revision, database = _parts(settings, Path(folder), progress)
            origin = BackupSource(
                created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                program_version=version("quanta-explorer"),
                database=database,
                revision=revision,
            )
            total = sum(source.stat().st_size for source in sources)
            with progress.task(f"write {target.name}", total, unit="bytes") as bar:
                manifest = write_archive(target, origin, sources, force=force, advance=bar.advance)
    except Exception as error:
        store_error = as_store_error(error)
        if store_error is not None and store_error is not error:
            raise store_error from error
        raise
    return BackupResult(target, target.stat().st_size, manifest)


def _parts(settings: Settings, folder: Path, progress: Progress) -> tuple[list[Path], str, str]:
    engine = make_engine(settings.url)
    try:
        path = embedded_file(engine)
        if path is None:
            return [folder / DUMP], _dump(engine, folder / DUMP, progress), "postgresql"
        sources, revision = _copy(settings, path, folder, progress)
        return sources, revision, "sqlite"
    finally:
        engine.dispose()


def _dump(engine: Engine, target: Path, progress: Progress) -> str:
    if revisions(engine)[0] is None:
        raise _no_store(engine.url.render_as_string())
    check_room(target.parent, 2 * postgres_copies.size(engine))
    private_file(target)
    with progress.task("dump the database", 1, unit="dumps") as bar:
        revision = postgres_copies.dump(engine, target)
        bar.advance()
    return _require_schema(revision)


def _copy(
    settings: Settings, path: Path, folder: Path, progress: Progress
) -> tuple[list[Path], str]:
    if not path.is_file():
        raise _no_store(str(path))
    files = [(path, folder / STORE)]
    jobs = settings.data_dir.resolve() / JOBS
    if jobs.is_file():
        # The engine first: a job that is missing there is queued again, but a queued job without a
        # row in the store could not run.
        files.insert(0, (jobs, folder / JOBS))
    with ExitStack() as stack:
        snapshots = [(stack.enter_context(Snapshot(source)), to) for source, to in files]
        check_room(folder, 2 * sum(snapshot.n_bytes for snapshot, _ in snapshots))
        revision = snapshots[-1][0].revision
        for snapshot, to in snapshots:
            title = f"copy {snapshot.path.name}"
            with progress.task(title, snapshot.n_bytes, unit="bytes") as bar:
                snapshot.write(to, bar.advance)
    return [to for _, to in files], _require_schema(revision)


def _no_store(where: str) -> NotFoundError:
    return NotFoundError(
        f"there is no store at {where}", "Set QUANTA_DATA_DIR or QUANTA_DATABASE_URL to one"
    )


def _require_schema(revision: str | None) -> str:
    if revision is None:
        raise StoreError("the store has no schema yet", "Run `quanta db upgrade` first")
    return revision
