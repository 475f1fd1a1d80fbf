"""Scores of clusters: coherence, centrality, answers, two-token patterns, neighbours.

Labels run from 0; results have one entry a label up to the largest, and a label without members has
NaN (or -1, or 0 where a count is meant). Members are the predictions that were clustered.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class TwoTokenPattern:
    """The pattern "last context token, then answer" that fits a cluster best.

    Attributes:
        last_token: id of the token before the answer; -1 for a cluster without members.
        answer: id of the predicted token; -1 for a cluster without members.
        precision: share of all members of the selection with the pattern that are in the cluster.
        recall: share of the cluster that has the pattern.
        f1: harmonic mean of both.
        n_members: members of the cluster that have the pattern.
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
        indices: labels of the neighbours; -1 where there are fewer than asked for.
        mean_cosines: mean cosine between members of both; NaN where the index is -1.
    """

    indices: Int[np.ndarray, "clusters neighbours"]
    mean_cosines: Float[np.ndarray, "clusters neighbours"]


def coherence(
    affinity: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"]
) -> Float[np.ndarray, " clusters"]:
    """Mean affinity within each cluster minus mean affinity of its members to the rest.

    Args:
        affinity: symmetric; the diagonal is ignored.
        labels: cluster of each member.

    Returns:
        Differences of means; NaN for singletons and where there is no rest.

    Raises:
        ValueError: shapes disagree or a label is negative.
    """
    _check_labels(labels, affinity)
    sizes = np.bincount(labels)
    within, total = _within_and_total(affinity, labels)
    inside = _ratio(within, sizes * (sizes - 1))
    outside = _ratio(total - within, sizes * (len(labels) - sizes))
    difference: Float[np.ndarray, " clusters"] = inside - outside
    return difference


def mean_cosines(
    cosine: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"]
) -> tuple[float, float]:
    """Mean cosine over all pairs in one cluster, and over all pairs in different clusters.

    Args:
        cosine: symmetric; the diagonal is ignored.
        labels: cluster of each member.

    Returns:
        Means within and between; NaN where there is no such pair.

    Raises:
        ValueError: shapes disagree or a label is negative.
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


def answer_entropy(
    answers: Int[np.ndarray, " members"], labels: Int[np.ndarray, " members"]
) -> Float[np.ndarray, " clusters"]:
    """Entropy in nats of the answer tokens of each cluster.

    Args:
        answers: id of the predicted token.
        labels: cluster of each member.

    Returns:
        0 where all members share one answer; NaN for a label without members.

    Raises:
        ValueError: shapes disagree or a label is negative.
    """
    _check_labels(labels, answers)
    sizes = np.bincount(labels)
    pairs, counts = np.unique(np.stack([labels, answers]), axis=1, return_counts=True)
    share = counts / sizes[pairs[0]]
    entropy = np.bincount(pairs[0], weights=share * np.log(1 / share), minlength=len(sizes))
    return np.where(sizes > 0, entropy, np.nan)


def order_by_centrality(
    cosine: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"]
) -> Int[np.ndarray, " members"]:
    """Members cluster by cluster, the most central first, ties by index.

    Centrality is the mean cosine to the other members of the own cluster.

    Args:
        cosine: symmetric; the diagonal is ignored.
        labels: cluster of each member.

    Returns:
        A permutation of the members.

    Raises:
        ValueError: shapes disagree or a label is negative.
    """
    _check_labels(labels, cosine)
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for members in np.split(order, ends[:-1]):  # views: sorting them sorts order
        block = cosine[np.ix_(members, members)].astype(np.float64)
        np.fill_diagonal(block, 0)
        members[:] = members[np.argsort(-block.sum(axis=1), kind="stable")]
    return order


def order_by_leading_eigenvector(
    cosine: Float[np.ndarray, "members members"],
) -> Int[np.ndarray, " members"]:
    """Order members so that alike ones are neighbours: along the centred matrix's leading axis.

    Args:
        cosine: symmetric.

    Returns:
        A permutation of the members; the same for equal input, ties by index.
    """
    centred = cosine - cosine.mean(axis=0) - cosine.mean(axis=1)[:, None] + cosine.mean()
    axis = np.linalg.eigh(centred.astype(np.float64))[1][:, -1]
    # An eigenvector's sign is arbitrary: fix it, so that a reload shows the same picture.
    sign = -1.0 if axis[np.abs(axis).argmax()] < 0 else 1.0
    return np.argsort(sign * axis, kind="stable")


def best_two_token_pattern(
    last_tokens: Int[np.ndarray, " members"],
    answers: Int[np.ndarray, " members"],
    labels: Int[np.ndarray, " members"],
) -> tuple[TwoTokenPattern, ...]:
    """The pattern (last context token, answer) of largest F1 for each cluster.

    Ties go to the pattern with most members of the cluster, then to the smallest ids.

    Args:
        last_tokens: id of the token before the answer.
        answers: id of the predicted token.
        labels: cluster of each member.

    Returns:
        One pattern a label.

    Raises:
        ValueError: shapes disagree or a label is negative.
    """
    _check_labels(labels, answers)
    _check_labels(labels, last_tokens)
    patterns, pattern = np.unique(np.stack([last_tokens, answers]), axis=1, return_inverse=True)
    everywhere = np.bincount(pattern)
    sizes = np.bincount(labels)
    pairs, hits = np.unique(np.stack([labels, pattern]), axis=1, return_counts=True)
    cluster, found = pairs
    f1 = 2 * hits / (everywhere[found] + sizes[cluster])
    best = [TwoTokenPattern(-1, -1, np.nan, np.nan, np.nan, 0)] * len(sizes)
    for row in np.lexsort((-found, hits, f1)):  # the best of each cluster comes last
        best[cluster[row]] = TwoTokenPattern(
            last_token=int(patterns[0, found[row]]),
            answer=int(patterns[1, found[row]]),
            precision=float(hits[row] / everywhere[found[row]]),
            recall=float(hits[row] / sizes[cluster[row]]),
            f1=float(f1[row]),
            n_members=int(hits[row]),
        )
    return tuple(best)


def cluster_neighbours(
    cosine: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"], k: int
) -> ClusterNeighbours:
    """The k nearest other clusters of each, by mean cosine between members, ties by label.

    Args:
        cosine: symmetric.
        labels: cluster of each member.
        k: number of neighbours, >= 1.

    Returns:
        Labels and mean cosines, k columns.

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


def _within_and_total(
    matrix: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"]
) -> tuple[Float[np.ndarray, " clusters"], Float[np.ndarray, " clusters"]]:
    """Sums of off-diagonal entries by the row's cluster: to its own cluster, and to all."""
    by_cluster = _sum_columns(matrix, labels)
    members = np.arange(len(labels))
    own = matrix.diagonal()
    within = by_cluster[members, labels] - own
    total = by_cluster.sum(axis=1) - own
    return np.bincount(labels, weights=within), np.bincount(labels, weights=total)


def _sum_columns(
    matrix: Float[np.ndarray, "members members"], labels: Int[np.ndarray, " members"]
) -> Float[np.ndarray, "members clusters"]:
    """Sum of each row over the columns of each cluster, in float64."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    sums = np.zeros((len(labels), len(sizes)))
    for cluster, members in enumerate(np.split(order, np.cumsum(sizes)[:-1])):
        sums[:, cluster] = matrix[:, members].sum(axis=1, dtype=np.float64)
    return sums


def _ratio(
    sums: Float[np.ndarray, "*shape"], counts: Int[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """sums / counts, NaN where the count is 0."""
    result = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=result, where=counts > 0)
    return result


def _check_labels(
    labels: Int[np.ndarray, "..."], other: Float[np.ndarray, "..."] | Int[np.ndarray, "..."]
) -> None:
    if labels.ndim != 1 or not labels.size or set(other.shape) != {len(labels)}:
        raise ValueError(f"labels {labels.shape} do not fit {other.shape}; give one label a member")
    if labels.min() < 0:
        index = int(labels.argmin())
        raise ValueError(f"labels[{index}] is {labels[index]}, want >= 0; drop unassigned members")
