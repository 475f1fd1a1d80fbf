"""Hash of all results: arrays, labels and scores, without ids and times."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    ClusterCurve,
    Clustering,
    ClusterMember,
    Corpus,
    CurveChunk,
    CurveSet,
    Discovery,
    Evaluation,
    Experiment,
    ExperimentArray,
    ExperimentCell,
    LossChunk,
    MeasureChunk,
    Selection,
    Similarity,
    SimilarityStripe,
    SpectralArray,
    TargetLoss,
    TokenChunk,
)

_CLUSTER_SCORES = (
    "size",
    "n_documents",
    "coherence",
    "mean_cosine",
    "mean_loss_nats",
    "answer_entropy_nats",
    "top_answer",
    "top_answer_share",
    "pattern_last",
    "pattern_answer",
    "pattern_precision",
    "pattern_recall",
    "neighbours",
)


def _array_rows(session: Session) -> Iterator[tuple[str, Any]]:
    """Yield (name without ids, row) of every stored array."""
    children: list[tuple[str, Any, Any]] = [
        ("tokens", TokenChunk, Corpus),
        ("losses", LossChunk, Evaluation),
        ("measures", MeasureChunk, Evaluation),
        ("curves", CurveChunk, CurveSet),
        ("cosines", SimilarityStripe, Similarity),
        ("spectrum", SpectralArray, Discovery),
        ("experiments", ExperimentArray, Experiment),
    ]
    for kind, table, parent in children:
        query = select(parent.key, table).join_from(table, parent).options(undefer(table.data))
        for key, row in session.execute(query.execution_options(yield_per=4)):
            part = [getattr(row, name, "") for name in ("chunk", "stripe", "cell", "name")]
            part += [row.version] if kind == "measures" else []
            yield f"{kind} {key} {part}", row
    keyed: dict[str, Any] = {"selection": Selection, "labels": Clustering, "targets": TargetLoss}
    for kind, table in keyed.items():
        query = select(table).options(undefer(table.data)).execution_options(yield_per=4)
        for row in session.scalars(query):
            yield f"{kind} {row.key}", row


def _score_rows(session: Session) -> Iterator[tuple[str, Any]]:
    for row in session.scalars(select(Evaluation)):
        yield f"evaluation {row.key}", [row.mean_loss_nats, row.share_under_tenth_nat]
    for curve_set in session.scalars(select(CurveSet)):
        yield f"curve set {curve_set.key}", curve_set.summary
    for discovery in session.scalars(select(Discovery)):
        yield f"discovery {discovery.key}", discovery.rank_frequency
    cells = select(Experiment.key, ExperimentCell).where(
        Experiment.id == ExperimentCell.experiment_id
    )
    for key, cell in session.execute(cells):
        yield f"experiment {key} {cell.cell}", cell.summary
    for clustering, cluster in session.execute(
        select(Clustering, Cluster).join(Cluster, Cluster.clustering_id == Clustering.id)
    ):
        scores = [getattr(cluster, name) for name in _CLUSTER_SCORES]
        yield f"cluster {clustering.key} {cluster.rank}", [clustering.inertia, *scores]
    members = select(Clustering.key, Cluster.rank, ClusterMember).where(
        ClusterMember.cluster_id == Cluster.id, Cluster.clustering_id == Clustering.id
    )
    for key, rank, member in session.execute(members):
        yield f"member {key} {rank} {member.position}", [member.row, member.prediction]
    curves = select(Clustering.key, Cluster.rank, CurveSet.key, ClusterCurve).where(
        ClusterCurve.cluster_id == Cluster.id,
        Cluster.clustering_id == Clustering.id,
        ClusterCurve.curve_set_id == CurveSet.id,
    )
    for key, rank, set_key, curve in session.execute(curves):
        values = [curve.mean_nats, curve.low_nats, curve.high_nats]
        yield f"cluster curve {key} {rank} {set_key}", values


def content_hash(store: Store) -> tuple[str, dict[str, int]]:
    """Return (hash over all results, number of arrays by kind), verifying every checksum.

    Raises:
        StoreError: an array does not match its checksum.
    """
    entries, counts = [], dict[str, int]()
    with store.session() as session:
        for name, row in _array_rows(session):
            arrays.read(row, name)
            entries.append(f"{name} {row.checksum}")
            kind = name.split(" ", 1)[0]
            counts[kind] = counts.get(kind, 0) + 1
            session.expunge(row)
        entries += [f"{name} {json.dumps(v, sort_keys=True)}" for name, v in _score_rows(session)]
    return hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest(), counts
