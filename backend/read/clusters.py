"""Members of a cluster, for searches and curves of one corpus."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError
from backend.store.tables import (
    Cluster,
    Clustering,
    ClusterMember,
    Corpus,
    Discovery,
    Selection,
    Similarity,
)


def cluster_predictions(
    session: Session, corpus: Corpus, cluster_id: int, parameter: str
) -> Sequence[int]:
    """Return the predictions of a cluster of a finished discovery, ascending.

    Raises:
        NotFoundError: there is no such cluster.
        InvalidInputError: it is of another corpus.
    """
    corpus_id = session.scalars(
        select(Selection.corpus_id)
        .join(Similarity, Similarity.selection_id == Selection.id)
        .join(Discovery, Discovery.similarity_id == Similarity.id)
        .join(Clustering, Clustering.discovery_id == Discovery.id)
        .join(Cluster, Cluster.clustering_id == Clustering.id)
        .where(Cluster.id == cluster_id, Discovery.completed_at.is_not(None))
    ).one_or_none()
    if corpus_id is None:
        raise NotFoundError(
            f"there is no cluster {cluster_id}", "GET /api/v1/clusterings lists them"
        )
    if corpus_id != corpus.id:
        raise InvalidInputError(
            f"cluster {cluster_id} is not of corpus {corpus.name}",
            "Choose its corpus, or another cluster",
            parameter,
        )
    return session.scalars(
        select(ClusterMember.prediction)
        .where(ClusterMember.cluster_id == cluster_id)
        .order_by(ClusterMember.prediction)
    ).all()
