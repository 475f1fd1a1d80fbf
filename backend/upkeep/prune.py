"""`quanta prune`: removes old objects that nothing refers to.

Each object is removed in its own transaction, which blocks other writers and checks the rules
again: a new reference keeps the object, and an interruption leaves no partial object.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.orm import Session

from backend.progress import Progress
from backend.read.job_views import OPEN_STATES
from backend.store.database import Store
from backend.store.tables import (
    Base,
    Corpus,
    CurveChunk,
    CurveSet,
    Document,
    Evaluation,
    Job,
    LossChunk,
    MeasureChunk,
    Similarity,
    SimilarityStripe,
    TargetLoss,
    TokenChunk,
)
from backend.store.tables.base import ArrayColumns, now
from backend.upkeep.prune_rules import (
    free_corpora,
    free_evaluations,
    free_similarities,
    jobs_of,
    old_jobs,
)
from backend.upkeep.stale_files import CACHES, EXPORTS, PARTS, StaleFile, find_stale_files

Table = tuple[type[Base], ColumnElement[bool]]


@dataclass(frozen=True)
class PruneResult:
    """Removed objects of one kind, or those that would be removed."""

    what: str
    count: int
    rows: int
    n_bytes: int


@dataclass(frozen=True)
class _Kind:
    """One kind of object: the query that finds it, and the tables of its rows."""

    what: str
    find: Callable[[Session, datetime, int | None], list[int]]
    tables: Callable[[Session, int], list[Table]]


def _evaluation_tables(_session: Session, key: int) -> list[Table]:
    return [
        (LossChunk, LossChunk.evaluation_id == key),
        (MeasureChunk, MeasureChunk.evaluation_id == key),
        (Evaluation, Evaluation.id == key),
    ]


def _similarity_tables(_session: Session, key: int) -> list[Table]:
    return [
        (SimilarityStripe, SimilarityStripe.similarity_id == key),
        (Similarity, Similarity.id == key),
    ]


def _corpus_tables(session: Session, key: int) -> list[Table]:
    evaluations = select(Evaluation.id).where(Evaluation.corpus_id == key)
    curve_sets = select(CurveSet.id).where(CurveSet.corpus_id == key)
    jobs = [use.id for use in jobs_of(session, session.get_one(Corpus, key).name)]
    return [
        (CurveChunk, CurveChunk.curve_set_id.in_(curve_sets)),
        (CurveSet, CurveSet.corpus_id == key),
        (TargetLoss, TargetLoss.corpus_id == key),
        (LossChunk, LossChunk.evaluation_id.in_(evaluations)),
        (MeasureChunk, MeasureChunk.evaluation_id.in_(evaluations)),
        (Evaluation, Evaluation.corpus_id == key),
        (TokenChunk, TokenChunk.corpus_id == key),
        (Document, Document.corpus_id == key),
        (Job, Job.id.in_(jobs)),
        (Corpus, Corpus.id == key),
    ]


KINDS = (
    _Kind("pasted texts", free_corpora, _corpus_tables),
    _Kind("unfinished evaluations", free_evaluations, _evaluation_tables),
    _Kind("unfinished similarities", free_similarities, _similarity_tables),
)


@contextmanager
def _write_lock(store: Store) -> Iterator[Session]:
    """Yield a session that blocks other writers; it commits at the end."""
    with store.begin() as session:
        if store.engine.dialect.name != "sqlite":  # SQLite has a single writer
            names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
            session.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))
        yield session


def _sizes(session: Session, tables: Sequence[Table]) -> tuple[int, int]:
    """Return (rows, bytes of arrays and texts)."""
    rows = n_bytes = 0
    for table, condition in tables:
        columns: list[Any] = [func.count()]
        if issubclass(table, ArrayColumns):
            columns.append(func.coalesce(func.sum(func.length(table.data)), 0))
        elif table is Document:
            columns.append(func.coalesce(func.sum(func.length(Document.text)), 0))
        sums = session.execute(select(*columns).select_from(table).where(condition)).one()
        rows += sums[0]
        n_bytes += sums[1] if len(sums) > 1 else 0
    return rows, int(n_bytes)


def _plan(store: Store, kind: _Kind, before: datetime) -> tuple[list[int], PruneResult]:
    with store.session() as session:
        keys = kind.find(session, before, None)
        sizes = [_sizes(session, kind.tables(session, key)) for key in keys]
    rows, n_bytes = (sum(size[i] for size in sizes) for i in (0, 1))
    return keys, PruneResult(kind.what, len(keys), rows, n_bytes)


def _forget_in_engine(store: Store, jobs: Sequence[str]) -> list[str]:
    """Delete ended jobs from the engine; return those that are gone."""
    from backend.jobs import workflows

    return workflows.delete_ended(store.settings, jobs) if jobs else []


def _drop(store: Store, kind: _Kind, key: int, before: datetime) -> tuple[int, int] | None:
    """Delete an object unless something refers to it now; return its rows and bytes."""
    with store.session() as session:
        jobs = (
            [use.id for use in jobs_of(session, session.get_one(Corpus, key).name)]
            if kind.find is free_corpora and kind.find(session, before, key)
            else []
        )
    if len(_forget_in_engine(store, jobs)) < len(jobs):
        return None  # the engine still runs one of them
    with _write_lock(store) as session:
        if not kind.find(session, before, key):
            return None
        tables = kind.tables(session, key)
        size = _sizes(session, tables)
        for table, condition in tables:
            session.execute(
                delete(table).where(condition).execution_options(synchronize_session=False)
            )
    return size


def _prune_kind(
    store: Store, kind: _Kind, before: datetime, progress: Progress, dry_run: bool
) -> PruneResult:
    keys, plan = _plan(store, kind, before)
    if dry_run:
        return plan
    removed = []
    with progress.task(f"remove {kind.what}", len(keys), unit=kind.what) as bar:
        for key in keys:
            if (size := _drop(store, kind, key, before)) is not None:
                removed.append(size)
            bar.advance()
    return PruneResult(
        kind.what, len(removed), sum(rows for rows, _ in removed), sum(n for _, n in removed)
    )


def _prune_jobs(store: Store, before: datetime, dry_run: bool) -> PruneResult:
    with store.session() as session:
        jobs = old_jobs(session, before)
    if not dry_run:
        # The engine first: a job that only the engine has could not be found again.
        jobs = _forget_in_engine(store, jobs)
        with _write_lock(store) as session:
            jobs = [job for job in jobs if job in set(old_jobs(session, before))]
            for job in jobs:
                session.execute(delete(Job).where(Job.id == job, Job.state.notin_(OPEN_STATES)))
    return PruneResult("ended jobs", len(jobs), len(jobs), 0)


def _prune_files(files: Sequence[StaleFile], what: str, dry_run: bool) -> PruneResult:
    stale = [file for file in files if file.what == what]
    if not dry_run:
        stale = [file for file in stale if file.remove()]
    return PruneResult(what, len(stale), 0, sum(file.n_bytes for file in stale))


def prune(store: Store, days: float, progress: Progress, *, dry_run: bool) -> list[PruneResult]:
    """Remove objects older than `days` that nothing refers to; return the removed ones by kind.

    `dry_run` changes nothing, and counts an object under every rule that matches it.
    """
    before = now() - timedelta(days=days)
    done = [_prune_kind(store, kind, before, progress, dry_run) for kind in KINDS]
    done.insert(1, _prune_jobs(store, before, dry_run))
    files = find_stale_files(store.settings, before, _exported_files(store, before, dry_run))
    return done + [_prune_files(files, what, dry_run) for what in (CACHES, PARTS, EXPORTS)]


def _exported_files(store: Store, before: datetime, dry_run: bool) -> set[str]:
    """Return names of the exported files of jobs that are not removed."""
    with store.session() as session:
        old = set(old_jobs(session, before)) if dry_run else set()
        jobs = session.scalars(select(Job).where(Job.kind == "export"))
        return {str((job.result or {}).get("file")) for job in jobs if job.id not in old}


def reusable_bytes(store: Store) -> int | None:
    """Return the free bytes inside an embedded store's file; None for a server."""
    if store.engine.dialect.name != "sqlite":
        return None
    with store.engine.connect() as connection:
        pages, size = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("freelist_count", "page_size")
        )
    return pages * size


def vacuum_database(store: Store) -> None:
    """Rewrite the database without free space; other programs wait meanwhile."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM")
        if store.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
