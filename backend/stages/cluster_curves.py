"""Mean and band of each cluster's losses along every finished curve set of its corpus."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from backend.progress import WORK_LOG, Progress
from backend.read.losses import loss_matrix
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    ClusterCurve,
    Clustering,
    ClusterMember,
    CurveSet,
    Discovery,
    Evaluation,
    Selection,
    Similarity,
)

BAND = (10, 90)  # percentiles


def _missing(session: Session, curve_set: CurveSet) -> Sequence[int]:
    """Return the clusterings on the curve set's corpus that lack curves for it."""
    has_curve = exists().where(
        ClusterCurve.cluster_id == Cluster.id, ClusterCurve.curve_set_id == curve_set.id
    )
    return session.scalars(
        select(Cluster.clustering_id)
        .join(Clustering, Clustering.id == Cluster.clustering_id)
        .join(Discovery)
        .join(Similarity)
        .join(Selection)
        .where(Selection.corpus_id == curve_set.corpus_id, ~has_curve)
        .distinct()
        .order_by(Cluster.clustering_id)
    ).all()


def _members(session: Session, clustering_id: int) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for cluster, prediction in session.execute(
        select(ClusterMember.cluster_id, ClusterMember.prediction)
        .join(Cluster, Cluster.id == ClusterMember.cluster_id)
        .where(Cluster.clustering_id == clustering_id)
        .order_by(Cluster.rank, ClusterMember.position)
    ):
        members.setdefault(cluster, []).append(prediction)
    return members


def band(losses: NDArray[np.float16]) -> tuple[list[float], list[float], list[float]]:
    """Return (mean, low, high) over members, one value a point, in nats."""
    values = losses.astype(np.float64)
    low, high = np.percentile(values, BAND, axis=0)
    return values.mean(axis=0).tolist(), low.tolist(), high.tolist()


def _curves(
    members: dict[int, list[int]], losses: NDArray[np.float16], curve_set_id: int
) -> list[ClusterCurve]:
    rows = []
    for cluster, predictions in members.items():
        mean, low, high = band(losses[predictions])
        rows.append(
            ClusterCurve(
                cluster_id=cluster,
                curve_set_id=curve_set_id,
                mean_nats=mean,
                low_nats=low,
                high_nats=high,
            )
        )
    return rows


def fill_cluster_curves(store: Store, progress: Progress) -> None:
    """Store missing curves; each clustering of each curve set is one commit."""
    with store.claim("cluster curves"):
        _fill(store, progress)


def _fill(store: Store, progress: Progress) -> None:
    with store.session() as session:
        sets = session.scalars(select(CurveSet).where(CurveSet.completed_at.is_not(None))).all()
        todo = [(s, clustering) for s in sets for clustering in _missing(session, s)]
    if not todo:
        return
    with progress.task("cluster curves", total=len(todo), unit="clusterings") as bar:
        for curve_set, clustering in todo:
            with store.begin() as session:
                WORK_LOG.info("cluster curves %s clustering %d", curve_set.key[:16], clustering)
                evaluations = [session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]
                attached = session.get_one(CurveSet, curve_set.id)
                losses = loss_matrix(store, attached.corpus, evaluations)
                session.add_all(_curves(_members(session, clustering), losses, curve_set.id))
            bar.advance()
