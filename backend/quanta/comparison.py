"""Agreement of two clusterings of one corpus, over the predictions in both.

ARI: Hubert and Arabie (1985), from pair counts. NMI: mutual information over the arithmetic mean
of the two entropies. Both are symmetric and 1 for equal partitions.
"""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.quanta.clusterings import finished_clustering
from backend.quanta.comparison_views import ClusterMatch, Comparison
from backend.store import arrays
from backend.store.database import Store
from backend.store.tables import Cluster, Clustering, Selection

MAX_RANKS = 400
Labels = NDArray[np.int64]


def compare(store: Store, a: int, b: int, *, limit: int = 100) -> Comparison:
    """Return the agreement of clusterings `a` and `b`, with the overlap of their first ranks.

    Raises:
        NotFoundError: there is no such clustering.
        InvalidInputError: they are of different corpora, or share no prediction.
    """
    with store.session() as session:
        first, second = finished_clustering(session, a), finished_clustering(session, b)
        labels_a, labels_b = _common_labels(first, second)
        ids_a, ids_b = _cluster_ids(session, a), _cluster_ids(session, b)
    table = contingency(labels_a, labels_b, first.n_clusters, second.n_clusters)
    return Comparison(
        a=a,
        b=b,
        n_clusters_a=first.n_clusters,
        n_clusters_b=second.n_clusters,
        n_common=int(table.sum()),
        ari=adjusted_rand_index(table),
        nmi=normalized_mutual_information(table),
        overlap=tuple(tuple(row) for row in table[:limit, :limit].tolist()),
        truncated=max(table.shape) > limit,
        matches=best_matches(table, ids_a, ids_b),
    )


def _cluster_ids(session: Session, clustering_id: int) -> list[int]:
    statement = (
        select(Cluster.id).where(Cluster.clustering_id == clustering_id).order_by(Cluster.rank)
    )
    return list(session.scalars(statement))


def _common_labels(a: Clustering, b: Clustering) -> tuple[Labels, Labels]:
    labels_a, labels_b = _labels(a), _labels(b)
    selection_a, selection_b = a.discovery.similarity.selection, b.discovery.similarity.selection
    if selection_a.id == selection_b.id:
        return labels_a, labels_b
    if selection_a.corpus_id == selection_b.corpus_id:
        _, rows_a, rows_b = np.intersect1d(
            _predictions(selection_a),
            _predictions(selection_b),
            assume_unique=True,
            return_indices=True,
        )
        if len(rows_a):
            return labels_a[rows_a], labels_b[rows_b]
    raise InvalidInputError(
        f"Clusterings {a.id} and {b.id} share no prediction",
        "Compare clusterings of the same corpus, best of the same selection",
        parameter="b",
    )


def _labels(clustering: Clustering) -> Labels:
    return arrays.read(clustering, f"clustering {clustering.id}").astype(np.int64)


def _predictions(selection: Selection) -> NDArray[np.int64]:
    return arrays.read(selection, f"selection {selection.id}").astype(np.int64)


def contingency(a: Labels, b: Labels, n_a: int, n_b: int) -> NDArray[np.int64]:
    """Return counts of every pair of labels, [n_a, n_b]."""
    counts = np.bincount(a * n_b + b, minlength=n_a * n_b)
    return counts.reshape(n_a, n_b).astype(np.int64)


def adjusted_rand_index(table: NDArray[np.int64]) -> float:
    """Return the adjusted Rand index of a contingency table; 1 for equal partitions."""
    # Python integers: products of pair counts exceed 2^63 at a few hundred thousand predictions.
    in_both = int((table * (table - 1)).sum())
    in_a = int((table.sum(1) * (table.sum(1) - 1)).sum())
    in_b = int((table.sum(0) * (table.sum(0) - 1)).sum())
    n = int(table.sum())
    pairs = n * (n - 1)
    if in_both == in_a == in_b:
        return 1.0
    # in_both, in_a and in_b count ordered pairs; ratios are those of unordered pairs.
    expected = in_a * in_b / pairs
    return (in_both - expected) / ((in_a + in_b) / 2 - expected)


def normalized_mutual_information(table: NDArray[np.int64]) -> float:
    """Return the mutual information over the mean of both entropies; 1 if both are zero."""
    entropies = _entropy(table.sum(1)) + _entropy(table.sum(0))
    if entropies == 0:
        return 1.0
    return max(0.0, 2 * (entropies - _entropy(table.ravel())) / entropies)


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def best_matches(
    table: NDArray[np.int64], ids_a: list[int], ids_b: list[int]
) -> tuple[ClusterMatch, ...]:
    """Return for each row of `table` the first column with the highest Jaccard index."""
    sizes_a, sizes_b = table.sum(1), table.sum(0)
    union = sizes_a[:, None] + sizes_b[None, :] - table
    jaccard = table / np.maximum(union, 1)
    best_for_a, best_for_b = jaccard.argmax(1), jaccard.argmax(0)
    return tuple(
        ClusterMatch(
            cluster_a=ids_a[i],
            rank_a=i + 1,
            size_a=int(sizes_a[i]),
            cluster_b=ids_b[j],
            rank_b=j + 1,
            size_b=int(sizes_b[j]),
            shared=int(table[i, j]),
            jaccard=float(jaccard[i, j]),
            mutual=bool(best_for_b[j] == i),
        )
        for i, j in enumerate(best_for_a.tolist())
        if sizes_a[i]
    )
