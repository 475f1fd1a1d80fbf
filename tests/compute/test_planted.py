"""Ground truth: planted gradients come back through the real similarity and clustering code."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from compute.spectral_clustering import angular_affinity, cluster_embedding, spectral_embedding
from tests.compute.cosine_matrix import cosine_matrix
from tests.factories import planted_gradients, planted_sizes

N_PARAMS = 20_000
SIZES = planted_sizes(30, 1200)


def test_planted_cosines_have_the_requested_mean() -> None:
    gradients, labels = planted_gradients([200, 100], 0.3, N_PARAMS, seed=0)
    cosine = gradients @ gradients.T
    np.testing.assert_allclose(cosine.diagonal(), 1, atol=1e-5)
    same = (labels[:, None] == labels) & ~np.eye(len(labels), dtype=bool)
    assert cosine[same].mean() == pytest.approx(0.3, abs=5e-4)
    between = cosine[labels[:, None] != labels].mean()
    assert abs(between) < 4 * 0.3 / N_PARAMS**0.5  # the two centres' own cosine


def test_planted_sizes_follow_the_power_of_rank() -> None:
    assert sum(SIZES) == 1200
    ranks = np.arange(1, 31)
    shares = ranks**-1.08 / (ranks**-1.08).sum()
    np.testing.assert_allclose(SIZES[1:], 1200 * shares[1:], rtol=0, atol=1)  # rounded down


@pytest.mark.slow
@pytest.mark.parametrize("within", [0.3, 0.5, 0.7])
def test_planted_clusters_are_recovered(within: float) -> None:
    gradients, planted = planted_gradients(SIZES, within, N_PARAMS, seed=0)
    # Scales of single gradients carry nothing: the similarity code must take them out.
    scales = np.random.default_rng(1).lognormal(0, 3, (len(gradients), 1)).astype(np.float32)
    cosine = cosine_matrix(torch.from_numpy(gradients * scales))
    same = planted[:, None] == planted
    other = ~np.eye(len(planted), dtype=bool)
    assert cosine[same & other].mean() == pytest.approx(within, abs=0.01)
    assert cosine[~same].mean() == pytest.approx(0, abs=0.01)
    affinity = angular_affinity(cosine)
    clustering = cluster_embedding(spectral_embedding(affinity, 30), 30, seed=0)
    assert adjusted_rand_score(planted, clustering.labels) >= 0.98
