"""Version of the data behind read-only pages; it changes whenever the data does.

Results are immutable, so a few counts and maxima of their tables detect any change; annotations and
descriptions of suites, which people edit, are included. Jobs, workers, tokens, sessions, measures
and experiments are not tracked: responses that show them must not be cached by version.
"""

import threading
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, Select, func, select, text
from sqlalchemy.pool import PoolProxiedConnection

from backend.store.tables import (
    Annotation,
    Checkpoint,
    ClusterCurve,
    Clustering,
    Corpus,
    CurveSet,
    Discovery,
    Evaluation,
    Model,
    Selection,
    Similarity,
    Suite,
    Tokenizer,
)

# A row that was deleted and recreated has another time, even with the same id.
_CREATED: tuple[Any, ...] = (Suite, Tokenizer, Checkpoint, Corpus, Selection, Clustering)
_COMPLETED: tuple[Any, ...] = (Evaluation, CurveSet, Similarity, Discovery)
TRACKED = frozenset(
    table.__tablename__ for table in (*_CREATED, *_COMPLETED, Model, Annotation, ClusterCurve)
)
# Rows of these tables are committed with, or before, a row of a tracked table.
TRACKED_WITH_PARENT = frozenset(
    {
        *("document", "token_chunk", "loss_chunk", "curve_chunk", "similarity_stripe"),
        *("spectral_array", "cluster", "cluster_member"),
    }
)
UNTRACKED = frozenset(
    {
        *("job", "job_request", "job_unit", "job_message", "claim", "worker"),
        *("access_token", "login_session"),
        *("measure_chunk", "target_loss"),
        # Their pages show runs in progress.
        *("experiment", "experiment_cell", "experiment_array"),
    }
)


_SNAPSHOT = text("SELECT pg_current_snapshot()::text")


def _numbers() -> Select[Any]:
    queries: list[Any] = []
    for table in (*_CREATED, *_COMPLETED):
        queries.append(select(func.count(), func.max(table.id), func.max(table.created_at)))
    for table in _COMPLETED:
        queries.append(select(func.count(table.completed_at), func.max(table.completed_at)))
    queries += [
        select(func.count(Checkpoint.location)),
        select(func.sum(func.length(Suite.description))),
        select(func.count(), func.max(Model.id)),
        select(func.count(), func.max(ClusterCurve.cluster_id)),
    ]
    columns: list[Any] = []
    for query in queries:
        froms = query.get_final_froms()
        for column in query.selected_columns:
            columns.append(select(column).select_from(*froms).scalar_subquery())
    return select(*columns)


class Versions:
    """Current version of a store.

    A cheap query detects commits since the last call; only then the tables are read. Jobs commit
    often without changing the version.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = _numbers()
        self._lock = threading.Lock()
        self._watch: PoolProxiedConnection | None = None
        self._latest: tuple[int | str, str] | None = None

    def current(self) -> str:
        """Return the version of the store.

        Raises:
            DBAPIError: the database does not answer.
        """
        if self._engine.dialect.name != "sqlite":
            # No lock: an unreachable server must not block other threads.
            return self._current(self._snapshot())
        with self._lock:
            return self._current(self._commits())

    def _current(self, mark: int | str) -> str:
        # The mark is older than the tables: a commit in between is detected at the next call.
        latest = self._latest
        if latest is None or latest[0] != mark:
            latest = self._latest = (mark, self._read())
        return latest[1]

    def _snapshot(self) -> str:
        """Return the visible transactions of a PostgreSQL server, which determine the rows."""
        with self._engine.connect() as connection:
            return str(connection.scalar(_SNAPSHOT))

    def _commits(self) -> int:
        # A separate connection: data_version counts commits of other connections.
        if self._watch is None:
            self._watch = self._engine.raw_connection()
        cursor = self._watch.cursor()
        try:
            cursor.execute("PRAGMA data_version")
            row = cursor.fetchone()
            assert row is not None, "SQLite always answers"
            return int(row[0])
        finally:
            cursor.close()

    def _read(self) -> str:
        with self._engine.connect() as connection:
            numbers = tuple(connection.execute(self._numbers).one())
            # Each by itself: a clock that was set back must not hide what was written then.
            written = connection.execute(
                select(Annotation.cluster_id, Annotation.updated_at).order_by(Annotation.cluster_id)
            )
            notes = sha256(repr(written.all()).encode()).hexdigest()
        return f"{numbers!r} {notes}"

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
