"""Scores of clusters: coherence, centrality, answer entropy, two-token patterns, neighbours.

Matrices are symmetric over the members, which are the clustered predictions; labels are their
clusters, from 0. Results have one entry per label up to the largest, with NaN (-1 for indices, 0
for counts) for a label without members. Wrong shapes and negative labels raise ValueError.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Matrix = Float[np.ndarray, "members members"]
Members = Int[np.ndarray, " members"]
_PerCluster = Float[np.ndarray, " clusters"]


@dataclass(frozen=True)
class TwoTokenPattern:
    """The best pattern "last context token, then answer" of a cluster.

    Attributes:
        last_token: id of the token before the answer; -1 for a cluster without members.
        answer: id of the predicted token; -1 for a cluster without members.
        precision: share of the selection's members with the pattern that are in the cluster.
        recall: share of the cluster with the pattern.
        f1: harmonic mean of both.
        n_members: members of the cluster with the pattern.
    """

    last_token: int
    answer: int
    precision: float
    recall: float
    f1: float
    n_members: int


@dataclass(frozen=True)
class ClusterNeighbours:
    """The nearest other clusters of each cluster, nearest first.

    Attributes:
        indices: labels of the neighbours; -1 if there are fewer than k.
        mean_cosines: mean cosine between members of both clusters; NaN where the index is -1.
    """

    indices: Int[np.ndarray, "clusters neighbours"]
    mean_cosines: Float[np.ndarray, "clusters neighbours"]


def coherence(affinity: Matrix, labels: Members) -> _PerCluster:
    """Return mean affinity within each cluster minus mean affinity to all other members.

    The diagonal is ignored; singletons, and clusters of all members, have NaN.
    """
    _check_labels(labels, affinity)
    sizes = np.bincount(labels)
    within, total = _within_and_total(affinity, labels)
    inside = _ratio(within, sizes * (sizes - 1))
    outside = _ratio(total - within, sizes * (len(labels) - sizes))
    difference: _PerCluster = inside - outside
    return difference


def mean_cosines(cosine: Matrix, labels: Members) -> tuple[float, float]:
    """Return the mean cosine of pairs in the same cluster, and of pairs in different clusters.

    The diagonal is ignored; a mean without such a pair is NaN.
    """
    _check_labels(labels, cosine)
    sizes = np.bincount(labels)
    within, total = _within_and_total(cosine, labels)
    n_within = np.sum(sizes * (sizes - 1), keepdims=True)
    n_between = np.array([len(labels) ** 2 - int((sizes**2).sum())])
    between = (total - within).sum(keepdims=True)
    return (
        float(_ratio(within.sum(keepdims=True), n_within)[0]),
        float(_ratio(between, n_between)[0]),
    )


def answer_entropy(answers: Members, labels: Members) -> _PerCluster:
    """Return the entropy in nats of the answer tokens (ids) of each cluster."""
    _check_labels(labels, answers)
    sizes = np.bincount(labels)
    pairs, counts = np.unique(np.stack([labels, answers]), axis=1, return_counts=True)
    share = counts / sizes[pairs[0]]
    entropy = np.bincount(pairs[0], weights=share * np.log(1 / share), minlength=len(sizes))
    return np.where(sizes > 0, entropy, np.nan)


def order_by_centrality(cosine: Matrix, labels: Members) -> Members:
    """Order members by cluster, then by decreasing centrality, ties by index.

    Centrality is the mean cosine to the other members of the same cluster.
    """
    _check_labels(labels, cosine)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for members in np.split(order, ends[:-1]):  # views: assigning to them changes order
        block = cosine[np.ix_(members, members)].astype(np.float64)
        np.fill_diagonal(block, 0)
        members[:] = members[np.argsort(-block.sum(axis=1), kind="stable")]
    return order


def order_by_leading_eigenvector(cosine: Matrix) -> Members:
    """Order members by the leading eigenvector of the centred matrix, so that similar ones adjoin.

    The order is deterministic, with ties by index.
    """
    centred = cosine - cosine.mean(axis=0) - cosine.mean(axis=1)[:, None] + cosine.mean()
    vector = np.linalg.eigh(centred.astype(np.float64))[1][:, -1]
    # The sign of an eigenvector is arbitrary: fix it to make the order deterministic.
    sign = -1.0 if vector[np.abs(vector).argmax()] < 0 else 1.0
    return np.argsort(sign * vector, kind="stable")


def best_two_token_pattern(
    last_tokens: Members, answers: Members, labels: Members
) -> tuple[TwoTokenPattern, ...]:
    """Return the pattern (last context token, answer) of largest F1 of each cluster.

    Ties go to the pattern with more members of the cluster, then to the smallest ids.
    """
    _check_labels(labels, answers)
    _check_labels(labels, last_tokens)
    patterns, pattern = np.unique(np.stack([last_tokens, answers]), axis=1, return_inverse=True)
    pattern_counts = np.bincount(pattern)
    sizes = np.bincount(labels)
    pairs, hits = np.unique(np.stack([labels, pattern]), axis=1, return_counts=True)
    cluster, candidate = pairs
    f1 = 2 * hits / (pattern_counts[candidate] + sizes[cluster])
    best = [TwoTokenPattern(-1, -1, np.nan, np.nan, np.nan, 0)] * len(sizes)
    for row in np.lexsort((-candidate, hits, f1)):  # the best of each cluster is last
        best[cluster[row]] = TwoTokenPattern(
            last_token=int(patterns[0, candidate[row]]),
            answer=int(patterns[1, candidate[row]]),
            precision=float(hits[row] / pattern_counts[candidate[row]]),
            recall=float(hits[row] / sizes[cluster[row]]),
            f1=float(f1[row]),
            n_members=int(hits[row]),
        )
    return tuple(best)


def cluster_neighbours(cosine: Matrix, labels: Members, k: int) -> ClusterNeighbours:
    """Return the k nearest other clusters by mean cosine between members, ties by label.

    Raises:
        ValueError: shapes disagree, a label is negative or k < 1.
    """
    _check_labels(labels, cosine)
    if k < 1:
        raise ValueError(f"k is {k}, want at least 1 neighbour")
    sizes = np.bincount(labels)
    by_cluster = _sum_columns(cosine, labels)
    sums = np.stack(
        [np.bincount(labels, column, minlength=len(sizes)) for column in by_cluster.T], axis=1
    )
    means = _ratio(sums, np.outer(sizes, sizes))
    np.fill_diagonal(means, np.nan)
    order = np.argsort(-means, axis=1, kind="stable")[:, :k]  # NaN sorts last
    values = np.full((len(sizes), k), np.nan)
    values[:, : order.shape[1]] = np.take_along_axis(means, order, axis=1)
    indices = np.full((len(sizes), k), -1)
    indices[:, : order.shape[1]] = order
    return ClusterNeighbours(np.where(np.isnan(values), -1, indices), values)


def _within_and_total(matrix: Matrix, labels: Members) -> tuple[_PerCluster, _PerCluster]:
    """Return sums of off-diagonal entries per cluster: within the cluster, and to all members."""
    by_cluster = _sum_columns(matrix, labels)
    members = np.arange(len(labels))
    own = matrix.diagonal()
    within = by_cluster[members, labels] - own
    total = by_cluster.sum(axis=1) - own
    return np.bincount(labels, weights=within), np.bincount(labels, weights=total)


def _sum_columns(matrix: Matrix, labels: Members) -> Float[np.ndarray, "members clusters"]:
    """Return the sum of each row over the columns of each cluster, in float64."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    sums = np.zeros((len(labels), len(sizes)))
    for cluster, members in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
        sums[:, cluster] = matrix[:, members].sum(axis=1, dtype=np.float64)
    return sums


def _ratio(
    sums: Float[np.ndarray, "*shape"], counts: Int[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return sums / counts, NaN where the count is 0."""
    result = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=result, where=counts > 0)
    return result


def _check_labels(
    labels: Int[np.ndarray, "..."], other: Float[np.ndarray, "..."] | Int[np.ndarray, "..."]
) -> None:
    if labels.ndim != 1 or not labels.size or set(other.shape) != {len(labels)}:
        raise ValueError(
            f"labels {labels.shape} do not fit {other.shape}; give one label per member"
        )
    if labels.min() < 0:
        index = int(labels.argmin())
        raise ValueError(f"labels[{index}] is {labels[index]}, want >= 0; drop unassigned members")
