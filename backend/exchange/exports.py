"""Exportable tables: losses, curves, predictions with their contexts, clusters.

Losses are float16 in the store and float32 in files, without rounding. Tables have a fixed order
and contain exactly the stored values.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.exchange import columns
from backend.exchange.table_files import Column, Rows, Table
from backend.quanta.clusterings import finished_clustering
from backend.read.curve_sets import find_curve_set
from backend.read.losses import loss_matrix
from backend.read.reader import find_reader
from backend.read.suite_losses import SuiteLosses, suite_losses
from backend.search.search import RankedRows
from backend.stages.provenance import program_version
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import (
    Annotation,
    Cluster,
    Clustering,
    ClusterMember,
    Corpus,
    CurveSet,
    Evaluation,
    Suite,
)

BLOCK_ROWS = 65_536
# Rows with contexts are larger, so a block has fewer of them.
CONTEXT_ROWS = 1_024
MAX_CONTEXT = 4_096


@dataclass(frozen=True)
class Range:
    """At most `limit` predictions of a corpus from `first` on (None: to the end)."""

    first: int = 0
    limit: int | None = None

    def bounds(self, n_predictions: int) -> tuple[int, int]:
        """Return (first, last + 1) in a corpus.

        Raises:
            InvalidInputError: the range starts outside the corpus.
        """
        if not 0 <= self.first < n_predictions:
            raise InvalidInputError(
                f"first is {self.first}", f"Choose 0 to {n_predictions - 1}", "first"
            )
        if self.limit is not None and self.limit < 1:
            raise InvalidInputError(f"limit is {self.limit}", "Choose at least 1", "limit")
        end = n_predictions if self.limit is None else self.first + self.limit
        return self.first, min(end, n_predictions)


def _blocks(first: int, last: int, size: int = BLOCK_ROWS) -> Iterator[Rows]:
    for start in range(first, last, size):
        yield np.arange(start, min(start + size, last), dtype=np.int64)


def _metadata(kind: str, corpus: Corpus, suite: Suite | None, **more: Any) -> dict[str, str]:
    values = {
        "program": "quanta-explorer",
        "version": program_version(),
        "kind": kind,
        "corpus": corpus.name,
        "corpus_key": corpus.key,
        "suite": suite.name if suite else "",
        "unit": "nats",
        **more,
    }
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}


def losses_table(store: Store, suite: str, corpus: str, prediction_range: Range) -> Table:
    """Return the losses of predictions under every evaluated checkpoint, one column each.

    Raises:
        NotFoundError: an unknown name.
        NotReadyError: nothing is evaluated.
        InvalidInputError: a range outside the corpus.
    """
    with store.session() as session:
        corpus_row, suite_row = corpus_named(session, corpus), suite_named(session, suite)
        first, last = prediction_range.bounds(corpus_row.n_predictions)
        losses = suite_losses(store, session, corpus_row, suite_row)
        checkpoints = [evaluation.checkpoint for evaluation in losses.evaluations]
        names = [f"loss_nats_{c.model.name}_step{c.step}" for c in checkpoints]
        metadata = _metadata(
            "losses",
            corpus_row,
            suite_row,
            models=[c.model.name for c in checkpoints],
            nonembedding_parameters=[c.model.nonembedding_parameters for c in checkpoints],
            steps=[c.step for c in checkpoints],
            evaluation_keys=[evaluation.key for evaluation in losses.evaluations],
        )
    table_columns = [Column("prediction", pa.int64(), pa.array)]
    table_columns += [columns.loss_column(name, losses.values, n) for n, name in enumerate(names)]
    return Table(table_columns, _blocks(first, last), last - first, metadata)


def named_curve_set(store: Store, suite: str, corpus: str, axis: str, model: str | None) -> int:
    """Return the id of the curve set of an axis; on "S" of one model, the largest for None.

    Raises:
        QuantaError: as `find_curve_set`.
    """
    with store.session() as session:
        return find_curve_set(session, corpus, suite, axis, model).id


def _curve_columns(store: Store, curve_set: CurveSet, losses: SuiteLosses) -> list[Column]:
    chosen = losses.columns(curve_set.evaluation_ids)
    checkpoints = [losses.evaluations[column].checkpoint for column in chosen]
    labels = [c.model.name if curve_set.axis == "N" else f"step{c.step}" for c in checkpoints]
    return [
        *columns.score_columns(store, curve_set),
        *(
            columns.loss_column(f"loss_nats_{label}", losses.values, column)
            for label, column in zip(labels, chosen, strict=True)
        ),
    ]


def _text_columns(store: Store, session: Session, corpus: Corpus, context: int) -> list[Column]:
    """Return index, position, answer and context columns; without text, only the index."""
    reader = find_reader(store, session, corpus)
    if reader is None:
        return [Column("prediction", pa.int64(), pa.array)]
    return columns.position_columns(store, reader) + (
        columns.context_columns(store, reader, context) if context else []
    )


def _curves(
    store: Store, curve_set_id: int, kind: str, context: int = 0
) -> tuple[Corpus, list[Column], dict[str, str]]:
    """Return (corpus, columns of predictions with their curves, metadata)."""
    if not 0 <= context <= MAX_CONTEXT:
        raise InvalidInputError(f"context is {context}", f"Choose 0 to {MAX_CONTEXT}", "context")
    with store.session() as session:
        curve_set = session.get_one(CurveSet, curve_set_id)
        corpus_row, suite_row = curve_set.corpus, curve_set.suite
        evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
        losses = SuiteLosses(evaluations, loss_matrix(store, corpus_row, evaluations))
        table_columns = _text_columns(store, session, corpus_row, context)
        table_columns += _curve_columns(store, curve_set, losses)
        metadata = _metadata(
            kind,
            corpus_row,
            suite_row,
            axis=curve_set.axis,
            model=curve_set.model.name if curve_set.model else "",
            axis_values=curve_set.axis_values,
            curve_set_key=curve_set.key,
            thresholds=curve_set.thresholds,
        )
    return corpus_row, table_columns, metadata


def curves_table(store: Store, curve_set_id: int, prediction_range: Range) -> Table:
    """Return the curves of predictions with class and scores, in the order of the corpus.

    Raises:
        InvalidInputError: a range outside the corpus.
    """
    corpus_row, table_columns, metadata = _curves(store, curve_set_id, "curves")
    first, last = prediction_range.bounds(corpus_row.n_predictions)
    return Table(table_columns, _blocks(first, last), last - first, metadata)


def predictions_table(store: Store, result: RankedRows, *, context: int = 32) -> Table:
    """Return the predictions of a search result, in its order, with their contexts.

    A context is `context` tokens before the answer, with the document's id and source; 0: none.

    Raises:
        InvalidInputError: `context` out of range.
    """
    _, table_columns, metadata = _curves(store, result.curve_set, "predictions", context)
    rows = result.rows
    table_columns = columns.select_rows(table_columns, rows.indices)
    if rows.distances is not None:
        table_columns.insert(1, columns.number_column("distance", rows.distances, pa.float64()))
    metadata |= {"n_matching": str(result.n_matching), "truncated": result.truncated or ""}
    size = CONTEXT_ROWS if context else BLOCK_ROWS
    return Table(table_columns, _blocks(0, len(rows.indices), size), len(rows.indices), metadata)


@dataclass(frozen=True)
class _Members:
    """All members of a clustering, largest cluster first, the most central member first."""

    rank: NDArray[np.int64]
    position: NDArray[np.int64]
    prediction: NDArray[np.int64]


def _members(session: Session, clustering_id: int) -> _Members:
    query = (
        select(Cluster.rank, ClusterMember.position, ClusterMember.prediction)
        .join(ClusterMember, ClusterMember.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering_id)
        .order_by(Cluster.rank, ClusterMember.position)
    )
    table = np.array(session.execute(query).all(), np.int64).reshape(-1, 3)
    return _Members(table[:, 0], table[:, 1], table[:, 2])


def _cluster_columns(session: Session, clustering_id: int, members: _Members) -> list[Column]:
    rows: Sequence[Any] = session.execute(
        select(Cluster, Annotation.label)
        .outerjoin(Annotation, Annotation.cluster_id == Cluster.id)
        .where(Cluster.clustering_id == clustering_id)
        .order_by(Cluster.rank)
    ).all()
    clusters = [cluster for cluster, _ in rows]
    ranks = members.rank - 1
    values = [
        ("cluster", pa.int64(), [c.id for c in clusters]),
        ("cluster_rank", pa.int32(), [c.rank for c in clusters]),
        ("cluster_size", pa.int32(), [c.size for c in clusters]),
        ("cluster_coherence", pa.float64(), [c.coherence for c in clusters]),
        ("cluster_label", pa.string(), [label or "" for _, label in rows]),
    ]

    def column(name: str, kind: pa.DataType, values: list[Any]) -> Column:
        array = pa.array(values, kind)
        return Column(name, kind, lambda rows: array.take(pa.array(ranks[rows])))

    return [
        *(column(*fact) for fact in values),
        columns.number_column("member", members.position, pa.int32()),
    ]


def clusters_table(store: Store, clustering_id: int, *, context: int = 64) -> Table:
    """Return every member of every cluster with its context and its loss.

    Imported clusters have no loss, and no context if the corpus has no text.

    Raises:
        NotFoundError: there is no such clustering.
        InvalidInputError: `context` out of range.
    """
    if not 1 <= context <= MAX_CONTEXT:
        raise InvalidInputError(f"context is {context}", f"Choose 1 to {MAX_CONTEXT}", "context")
    with store.session() as session:
        clustering: Clustering = finished_clustering(session, clustering_id)
        selection = clustering.discovery.similarity.selection
        corpus_row, evaluation = selection.corpus, selection.evaluation
        checkpoint = evaluation.checkpoint if evaluation else None
        suite_row = checkpoint.model.suite if checkpoint else None
        members = _members(session, clustering_id)
        member_columns = _text_columns(store, session, corpus_row, context)
        if evaluation and suite_row:
            loss = suite_losses(store, session, corpus_row, suite_row).column(evaluation.id)
            member_columns.append(columns.number_column("loss_nats", loss, pa.float32()))
        table_columns = _cluster_columns(session, clustering_id, members)
        metadata = _metadata(
            "clusters",
            corpus_row,
            suite_row,
            clustering=clustering_id,
            clustering_key=clustering.key,
            n_clusters=clustering.n_clusters,
            model=checkpoint.model.name if checkpoint else "",
            step=checkpoint.step if checkpoint else "",
        )
    table_columns += columns.select_rows(member_columns, members.prediction)
    size = len(members.prediction)
    return Table(table_columns, _blocks(0, size, CONTEXT_ROWS), size, metadata)
