"""`quanta backup`: the store and the job engine's tables, in one file, while others use them."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

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
    Facts,
    Manifest,
    refuse_existing,
    write_archive,
)

STAGING = ".quanta-backup-"


@dataclass(frozen=True)
class BackupResult:
    """A backup that was made."""

    file: Path
    n_bytes: int
    manifest: Manifest


def make_backup(
    settings: Settings, target: Path, progress: Progress, *, force: bool = False
) -> BackupResult:
    """Write one consistent backup; servers and workers go on meanwhile.

    Raises:
        InvalidInputError: the file exists, and `force` is not given.
        NotFoundError: there is no store.
        StoreError, StoreFullError: it cannot be copied; no file is left.
    """
    target = target.absolute()
    refuse_existing(target, force)
    try:
        with TemporaryDirectory(prefix=STAGING, dir=target.parent) as folder:
            sources, revision, database = _parts(settings, Path(folder), progress)
            facts = Facts(
                created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                program_version=version("quanta-explorer"),
                database=database,
                revision=revision,
            )
            total = sum(source.stat().st_size for source in sources)
            with progress.task(f"write {target.name}", total, unit="bytes") as bar:
                manifest = write_archive(target, facts, sources, force=force, advance=bar.advance)
    except Exception as error:
        if (fault := as_store_error(error)) is not None and fault is not error:
            raise fault from error
        raise
    return BackupResult(target, target.stat().st_size, manifest)


def _parts(settings: Settings, folder: Path, progress: Progress) -> tuple[list[Path], str, str]:
    engine = make_engine(settings.url)
    try:
        path = embedded_file(engine)
        if path is None:
            return [folder / DUMP], _dumped(settings, folder / DUMP, progress), "postgresql"
        sources, revision = _copied(settings, path, folder, progress)
        return sources, revision, "sqlite"
    finally:
        engine.dispose()


def _dumped(settings: Settings, target: Path, progress: Progress) -> str:
    engine = make_engine(settings.url)
    try:
        if revisions(engine)[0] is None:
            raise _no_store(engine.url.render_as_string())
        check_room(target.parent, 2 * postgres_copies.size(engine))
        private_file(target)
        with progress.task("dump the database", 1, unit="dumps") as bar:
            revision = postgres_copies.dump(engine, target)
            bar.advance()
    finally:
        engine.dispose()
    return _known(revision)


def _copied(
    settings: Settings, path: Path, folder: Path, progress: Progress
) -> tuple[list[Path], str]:
    if not path.is_file():
        raise _no_store(str(path))
    files = [(path, folder / STORE)]
    jobs = settings.data_dir.resolve() / JOBS
    if jobs.is_file():
        # The engine first: a job that it does not know yet is handed to it again, but one whose
        # row the store does not have could not be carried out.
        files.insert(0, (jobs, folder / JOBS))
    with ExitStack() as stack:
        snapshots = [(stack.enter_context(Snapshot(source)), to) for source, to in files]
        check_room(folder, 2 * sum(snapshot.n_bytes for snapshot, _ in snapshots))
        revision = snapshots[-1][0].revision
        for snapshot, to in snapshots:
            title = f"copy {snapshot.path.name}"
            with progress.task(title, snapshot.n_bytes, unit="bytes") as bar:
                snapshot.write(to, bar.advance)
    return [to for _, to in files], _known(revision)


def _no_store(where: str) -> NotFoundError:
    return NotFoundError(
        f"there is no store at {where}", "Set QUANTA_DATA_DIR or QUANTA_DATABASE_URL to one"
    )


def _known(revision: str | None) -> str:
    if revision is None:
        raise StoreError("the store has no schema yet", "Run `quanta db upgrade` first")
    return revision
