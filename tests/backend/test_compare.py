"""Agreement of clusterings against scikit-learn and closed cases."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from backend.queries.compare import (
    adjusted_rand_index,
    best_matches,
    contingency,
    normalized_mutual_information,
)


@pytest.mark.parametrize(("n", "n_a", "n_b"), [(2, 2, 2), (50, 3, 7), (500, 40, 60), (9, 9, 1)])
def test_scores_equal_those_of_scikit_learn(n: int, n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(5):
        a, b = rng.integers(0, n_a, n), rng.integers(0, n_b, n)
        table = contingency(a, b, n_a, n_b)
        assert adjusted_rand_index(table) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
        assert normalized_mutual_information(table) == pytest.approx(
            normalized_mutual_info_score(a, b), abs=1e-12
        )


def test_equal_partitions_score_one_whatever_their_names() -> None:
    a = np.array([0, 0, 1, 1, 2, 3])
    table = contingency(a, 3 - a, 4, 4)
    assert adjusted_rand_index(table) == 1
    assert normalized_mutual_information(table) == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 4])
def test_one_cluster_against_one_cluster_scores_one(n: int) -> None:
    table = np.array([[n]])
    assert adjusted_rand_index(table) == 1
    assert normalized_mutual_information(table) == 1


def test_scores_do_not_overflow_for_millions_of_predictions() -> None:
    table = np.diag([2_000_000, 1_000_000]).astype(np.int64)
    assert adjusted_rand_index(table) == 1


def test_counts_of_the_table_are_counts_of_pairs_of_labels() -> None:
    table = contingency(np.array([0, 0, 1]), np.array([2, 2, 0]), 2, 3)
    assert table.tolist() == [[0, 0, 2], [1, 0, 0]]


def test_matches_maximise_the_jaccard_index_and_say_whether_it_is_mutual() -> None:
    table = np.array([[8, 2, 0], [0, 1, 0], [0, 0, 0]])
    first, second = best_matches(table, [10, 11, 12], [20, 21, 22])
    assert (first.cluster_a, first.cluster_b, first.shared) == (10, 20, 8)
    assert first.jaccard == pytest.approx(0.8)
    assert first.mutual
    assert (second.cluster_a, second.cluster_b) == (11, 21)
    assert second.jaccard == pytest.approx(1 / 3)
    assert second.mutual
