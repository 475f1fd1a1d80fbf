"""Clusterings: lists, scores and rank-frequency data."""

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from backend.errors import NotFoundError
from backend.quanta.similarities import selection_row
from backend.quanta.views import ClusteringRow, ClusteringView, RankFrequency, Slope
from backend.read.curve_sets import curve_sets
from backend.read.evaluations import first_suite
from backend.read.similarities import clustering_labels
from backend.read.values import format_utc
from backend.store.database import Store
from backend.store.tables import (
    Cluster,
    Clustering,
    CurveSet,
    Discovery,
    Selection,
    Similarity,
    Suite,
)

# Minimum coherence, members and documents of a coherent cluster. Angular affinity 0.5 is a right
# angle, so 0.05 is nine degrees.
COHERENT_ABOVE = 0.05
COHERENT_SIZE, COHERENT_DOCUMENTS = 8, 5
EXPLAINED_PRECISION = 0.5
_SIMILARITY = joinedload(Clustering.discovery).joinedload(Discovery.similarity)
_RELATIONS = _SIMILARITY.joinedload(Similarity.selection).joinedload(Selection.corpus)


def clustering_row(clustering: Clustering, largest: int) -> ClusteringRow:
    """Return a clustering as a view; `largest` is the size of its first cluster."""
    return ClusteringRow(
        id=clustering.id,
        key=clustering.key,
        discovery=clustering.discovery_id,
        n_clusters=clustering.n_clusters,
        size=clustering.shape[0],
        largest=largest,
        inertia=clustering.inertia,
        imported=clustering.discovery.similarity.is_imported,
        name=clustering.discovery.name,
        created_at=format_utc(clustering.created_at),
    )


def clustering_rows(session: Session, discovery_id: int | None = None) -> list[ClusteringRow]:
    """Return clusterings of finished discoveries, by discovery and n_clusters."""
    statement = (
        select(Clustering, Cluster.size)
        .join(Discovery, Discovery.id == Clustering.discovery_id)
        .join(Cluster, (Cluster.clustering_id == Clustering.id) & (Cluster.rank == 1))
        .where(Discovery.completed_at.is_not(None))
        .order_by(Clustering.discovery_id, Clustering.n_clusters)
        .options(_SIMILARITY)
    )
    if discovery_id is not None:
        statement = statement.where(Clustering.discovery_id == discovery_id)
    return [clustering_row(row, largest) for row, largest in session.execute(statement)]


def list_clusterings(store: Store) -> tuple[ClusteringRow, ...]:
    """Return all clusterings of finished discoveries."""
    with store.session() as session:
        return tuple(clustering_rows(session))


def finished_clustering(session: Session, clustering_id: int) -> Clustering:
    """Return a clustering of a finished discovery, with its similarity, selection and corpus.

    Raises:
        NotFoundError: there is none with that id.
    """
    row = session.get(Clustering, clustering_id, options=[_RELATIONS])
    if row is None or row.discovery.completed_at is None:
        raise NotFoundError(
            f"there is no clustering {clustering_id}",
            "GET /api/v1/clusterings lists them; `quanta discover` creates them",
        )
    return row


def selection_suite(session: Session, selection: Selection) -> Suite | None:
    """Return the suite of a selection; for imported labels the first that is evaluated."""
    if selection.evaluation is not None:
        return selection.evaluation.checkpoint.model.suite
    return first_suite(session, selection.corpus)


def size_curve_set(session: Session, selection: Selection) -> CurveSet | None:
    """Return the curves over model size of a selection's suite, None if there are none."""
    suite = selection_suite(session, selection)
    if suite is None:
        return None
    for curve_set in curve_sets(session, selection.corpus, suite):
        if curve_set.axis == "N":
            return curve_set
    return None


def rank_frequency(session: Session, discovery: Discovery) -> RankFrequency:
    """Return the rank-frequency data of a finished discovery."""
    from compute.rank_frequency import PUBLISHED_SLOPE, PUBLISHED_THEORY_SLOPE, theory_slope

    stored = discovery.rank_frequency or {}
    curve_set = size_curve_set(session, discovery.similarity.selection)
    fit = (curve_set.summary or {}).get("fit") if curve_set else None
    alpha = fit["exponent"] if fit else None
    return RankFrequency(
        sizes={
            c.n_clusters: tuple(np.bincount(clustering_labels(session, c.id)).tolist())
            for c in discovery.clusterings
        },
        envelope=tuple(stored.get("envelope", ())),
        fit=Slope(**stored["fit"]) if stored.get("fit") else None,
        theory_slope=None if alpha is None else theory_slope(alpha),
        alpha_n=alpha,
        published_slope=PUBLISHED_SLOPE,
        published_theory_slope=PUBLISHED_THEORY_SLOPE,
    )


def clustering_rank_frequency(store: Store, clustering_id: int) -> RankFrequency:
    """Return the rank-frequency data of a clustering's discovery.

    Raises:
        NotFoundError: there is none with that id.
    """
    with store.session() as session:
        return rank_frequency(session, finished_clustering(session, clustering_id).discovery)


def is_coherent(cluster: Cluster) -> bool:
    """Whether a cluster is coherent, with enough members from enough documents."""
    return (
        cluster.coherence is not None
        and cluster.coherence > COHERENT_ABOVE
        and cluster.size >= COHERENT_SIZE
        and (cluster.n_documents or 0) >= COHERENT_DOCUMENTS
    )


def clustering(store: Store, clustering_id: int) -> ClusteringView:
    """Return a clustering with its siblings and rank-frequency data.

    Raises:
        NotFoundError: there is none with that id.
    """
    with store.session() as session:
        row = finished_clustering(session, clustering_id)
        discovery = row.discovery
        clusters = session.scalars(
            select(Cluster).where(Cluster.clustering_id == clustering_id)
        ).all()
        coherent = [c for c in clusters if is_coherent(c)]
        patterns = [c.pattern_precision or 0.0 for c in coherent]
        explained = sum(precision >= EXPLAINED_PRECISION for precision in patterns)
        imported = discovery.similarity.is_imported
        return ClusteringView(
            id=row.id,
            key=row.key,
            name=discovery.name,
            imported=imported,
            n_clusters=row.n_clusters,
            size=row.shape[0],
            inertia=row.inertia,
            seed=discovery.parameters.get("seed"),
            n_init=discovery.parameters.get("n_init"),
            affinity=discovery.parameters.get("affinity"),
            created_at=format_utc(row.created_at),
            similarity_id=None if imported else discovery.similarity_id,
            selection=selection_row(discovery.similarity.selection),
            siblings=tuple(clustering_rows(session, discovery.id)),
            rank_frequency=rank_frequency(session, discovery),
            n_coherent=None if imported else len(coherent),
            n_explained_by_pattern=None if imported else explained,
            coherent_above=COHERENT_ABOVE,
        )
