"""One name for everything that read-only pages show: it changes when any of that does.

Results are immutable, so that a few numbers of the tables that name them tell of any change;
annotations and the words on suites, which people change, are among them. Jobs, workers, tokens and
sessions are not, nor what is stored a document at a time (measures), nor experiments: what shows
those must not be remembered under this name.
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

# A row that was deleted and made again has another time even where it has the same id.
_MADE: tuple[Any, ...] = (Suite, Tokenizer, Checkpoint, Corpus, Selection, Clustering)
_COMPLETED: tuple[Any, ...] = (Evaluation, CurveSet, Similarity, Discovery)
TRACKED = frozenset(
    one.__tablename__ for one in (*_MADE, *_COMPLETED, Model, Annotation, ClusterCurve)
)
# Rows of these are written with, or before, a row of those that are seen.
TRACKED_WITH_PARENT = frozenset(
    {
        *("document", "token_chunk", "loss_chunk", "curve_chunk", "similarity_stripe"),
        *("spectral_array", "cluster", "cluster_member"),
    }
)
UNTRACKED = frozenset(
    {
        *(
            "job",
            "job_request",
            "job_unit",
            "job_message",
            "claim",
            "worker",
            "access_token",
            "login_session",
        ),
        *("measure_chunk", "target_loss"),
        # Their pages follow runs that go on.
        *("experiment", "experiment_cell", "experiment_array"),
    }
)


_SNAPSHOT = text("SELECT pg_current_snapshot()::text")


def _numbers() -> Select[Any]:
    asked: list[Any] = []
    for one in (*_MADE, *_COMPLETED):
        asked.append(select(func.count(), func.max(one.id), func.max(one.created_at)))
    for one in _COMPLETED:
        asked.append(select(func.count(one.completed_at), func.max(one.completed_at)))
    asked += [
        select(func.count(Checkpoint.location)),
        select(func.sum(func.length(Suite.description))),
        select(func.count(), func.max(Model.id)),
        select(func.count(), func.max(ClusterCurve.cluster_id)),
    ]
    columns: list[Any] = []
    for query in asked:
        froms = query.get_final_froms()
        for column in query.selected_columns:
            columns.append(select(column).select_from(*froms).scalar_subquery())
    return select(*columns)


class Versions:
    """Names the present state of a store.

    A database says for little whether anybody has committed since it was last asked; only then the
    tables are looked at. Jobs commit often, which does not change the name.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = _numbers()
        self._lock = threading.Lock()
        self._watch: PoolProxiedConnection | None = None
        self._seen: tuple[int | str, str] | None = None

    def current(self) -> str:
        """Return the name of what the store holds now.

        Raises:
            DBAPIError: the database does not answer.
        """
        if self._engine.dialect.name != "sqlite":
            return self._current(
                self._snapshot()
            )  # a server that is away keeps nobody else waiting
        with self._lock:
            return self._current(self._commits())

    def _current(self, mark: int | str) -> str:
        # The mark was asked for before the tables are: a commit in between is seen the next time.
        seen = self._seen
        if seen is None or seen[0] != mark:
            seen = self._seen = (mark, self._read())
        return seen[1]

    def _snapshot(self) -> str:
        """Return which transactions of a PostgreSQL server are visible: the same, the same rows."""
        with self._engine.connect() as connection:
            return str(connection.scalar(_SNAPSHOT))

    def _commits(self) -> int:
        # A connection of its own: the number counts what others have committed.
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
