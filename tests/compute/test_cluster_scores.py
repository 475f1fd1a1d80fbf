import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compute.cluster_scores import (
    answer_entropy,
    best_two_token_pattern,
    cluster_neighbours,
    coherence,
    mean_cosines,
    order_by_centrality,
    order_by_leading_eigenvector,
)

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=25).map(np.array)


def symmetric(n: int, seed: int = 0) -> NDArray[np.float64]:
    matrix = np.random.default_rng(seed).uniform(-1, 1, (n, n))
    return np.asarray((matrix + matrix.T) / 2)


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@given(LABELS)
def test_coherence_equals_the_loop_over_pairs(labels: NDArray[np.int64]) -> None:
    affinity, n = symmetric(len(labels)), len(labels)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    expected = [
        mean([affinity[i, j] for i, j in pairs if labels[i] == c == labels[j]])
        - mean([affinity[i, j] for i, j in pairs if labels[i] == c != labels[j]])
        for c in range(labels.max() + 1)
    ]
    np.testing.assert_allclose(coherence(affinity, labels), expected, atol=1e-12)


def test_coherence_of_a_singleton_is_undefined() -> None:
    assert list(np.isnan(coherence(symmetric(3), np.array([0, 0, 1])))) == [False, True]


def test_coherence_ignores_the_diagonal() -> None:
    affinity, labels = symmetric(6), np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        coherence(affinity, labels), coherence(affinity + 7 * np.eye(6), labels), atol=1e-12
    )


@given(LABELS)
def test_mean_cosines_equal_the_masked_means(labels: NDArray[np.int64]) -> None:
    cosine = symmetric(len(labels))
    same = labels[:, None] == labels
    off_diagonal = ~np.eye(len(labels), dtype=bool)
    within, between = mean_cosines(cosine, labels)
    assert within == pytest.approx(mean(list(cosine[same & off_diagonal])), nan_ok=True)
    assert between == pytest.approx(mean(list(cosine[~same])), nan_ok=True)


def test_entropy_of_equal_shares_is_the_log_of_their_number() -> None:
    labels = np.array([0, 0, 0, 0, 2, 2, 3, 3, 3])
    answers = np.array([7, 7, 7, 7, 1, 2, 5, 6, 9])
    np.testing.assert_allclose(
        answer_entropy(answers, labels), [0, np.nan, np.log(2), np.log(3)], atol=1e-15
    )


@given(LABELS)
def test_order_by_centrality_equals_sorting_by_the_loop(labels: NDArray[np.int64]) -> None:
    cosine, n = symmetric(len(labels)), len(labels)
    centrality = [mean([cosine[i, j] for j in range(n) if j != i and labels[j] == labels[i]])
                  for i in range(n)]  # fmt: skip
    expected = sorted(range(n), key=lambda i: (labels[i], -np.nan_to_num(centrality[i]), i))
    assert list(order_by_centrality(cosine, labels)) == expected


def test_order_by_centrality_breaks_ties_by_index() -> None:
    labels = np.array([1, 0, 1, 0, 1])
    assert list(order_by_centrality(np.ones((5, 5)), labels)) == [1, 3, 0, 2, 4]


def test_the_leading_eigenvector_orders_members_and_puts_the_largest_entry_last() -> None:
    positions = np.array([-5.0, 1, 2, 2.5, 0.5])  # on a line: the eigenvector is their deviation
    for sign in (1, -1):
        cosine = np.outer(sign * positions, sign * positions)
        assert order_by_leading_eigenvector(cosine).tolist() == [3, 2, 1, 4, 0]


TOKENS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(5, 7), st.integers(0, 2)), min_size=1, max_size=30
).map(np.array)


@given(TOKENS)
def test_best_pattern_equals_the_loop_over_all_pairs(rows: NDArray[np.int64]) -> None:
    last, answers, labels = rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].copy()
    patterns = best_two_token_pattern(last, answers, labels)
    assert len(patterns) == labels.max() + 1
    for cluster, pattern in enumerate(patterns):
        own = labels == cluster
        candidates = []
        for a, b in {(int(a), int(b)) for a, b in rows[own, :2]}:
            match = (last == a) & (answers == b)
            hits = int((match & own).sum())
            f1 = 2 * hits / (int(match.sum()) + int(own.sum()))
            candidates.append((-f1, -hits, a, b, hits / int(match.sum()), hits / int(own.sum())))
        if not candidates:
            assert (pattern.last_token, pattern.answer, pattern.n_members) == (-1, -1, 0)
            continue
        f1, hits, a, b, precision, recall = min(candidates)
        assert (pattern.last_token, pattern.answer, pattern.n_members) == (a, b, -hits)
        assert (pattern.precision, pattern.recall) == pytest.approx((precision, recall))
        assert pattern.f1 == pytest.approx(-f1)
        assert pattern.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@given(LABELS, st.integers(1, 6))
def test_neighbours_equal_the_sorted_means(labels: NDArray[np.int64], k: int) -> None:
    cosine = symmetric(len(labels))
    neighbours = cluster_neighbours(cosine, labels, k)
    for c in range(labels.max() + 1):
        others = [o for o in set(labels.tolist()) if o != c and (labels == c).any()]
        ranked = sorted((-cosine[np.ix_(labels == c, labels == o)].mean(), o) for o in others)[:k]
        padding = k - len(ranked)
        assert list(neighbours.indices[c]) == [o for _, o in ranked] + [-1] * padding
        np.testing.assert_allclose(
            neighbours.mean_cosines[c], [-m for m, _ in ranked] + [np.nan] * padding, atol=1e-12
        )


def test_single_precision_scores_equal_double_ones() -> None:
    cosine, labels = symmetric(300).astype(np.float32), np.arange(300) % 7
    np.testing.assert_allclose(
        coherence(cosine, labels), coherence(cosine.astype(np.float64), labels), rtol=0, atol=1e-12
    )


def test_a_negative_label_is_refused() -> None:
    labels = np.array([0, -1, 0])
    with pytest.raises(ValueError, match=r"labels\[1\] is -1"):
        coherence(symmetric(3), labels)
    with pytest.raises(ValueError, match="at least 1 neighbour"):
        cluster_neighbours(symmetric(3), np.array([0, 1, 0]), 0)
