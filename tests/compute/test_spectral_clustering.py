import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.csgraph import laplacian
from sklearn.cluster import SpectralClustering
from sklearn.manifold import spectral_embedding as sklearn_embedding
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from compute.spectral_clustering import (
    SpectralEmbedding,
    angular_affinity,
    cluster_embedding,
    spectral_embedding,
)
from tests.factories import planted_gradients, planted_sizes


def planted_affinity(
    n_clusters: int, total: int, cosine: float = 0.3, n_params: int = 1500
) -> NDArray[np.float64]:
    gradients, _ = planted_gradients(planted_sizes(n_clusters, total), cosine, n_params, seed=0)
    return angular_affinity(gradients @ gradients.T)


def inertia(points: NDArray[np.float64], labels: NDArray[np.int32]) -> float:
    groups = (points[labels == label] for label in np.unique(labels))
    return sum(float(((group - group.mean(axis=0)) ** 2).sum()) for group in groups)


@given(st.floats(0, 180))
def test_affinity_is_linear_in_the_angle(degrees: float) -> None:
    cosine = np.cos(np.radians(degrees))
    affinity = angular_affinity(np.array([[1, cosine], [cosine, 1]]))
    assert affinity[0, 1] == pytest.approx(1 - degrees / 180, abs=1e-7)


def test_cosines_that_rounding_took_beyond_one_are_clamped() -> None:
    rows = np.random.default_rng(0).standard_normal((500, 300)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = rows @ rows.T
    cosine[0, 1] = cosine[1, 0] = np.nextafter(np.float32(1), np.float32(2))
    cosine[2, 3] = cosine[3, 2] = -1.001
    assert (cosine.diagonal() > 1).any()  # arccos without a clamp is NaN here
    affinity = angular_affinity(cosine)
    assert np.isfinite(affinity).all()
    assert affinity[0, 1] == 1
    assert affinity[2, 3] == 0


def test_affinity_equals_the_formula_and_is_symmetric_over_several_blocks() -> None:
    cosine = np.random.default_rng(0).uniform(-1, 1, (1100, 1100))
    affinity = angular_affinity(cosine)
    expected = 1 - np.arccos((cosine + cosine.T) / 2) / np.pi
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(affinity, expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(affinity, affinity.T)


def test_an_entry_that_is_not_a_cosine_is_named() -> None:
    cosine = np.eye(600)
    for value in (np.nan, np.inf, 1.5, -1.5):
        cosine[550, 7] = cosine[7, 550] = value
        with pytest.raises(ValueError, match=r"cosine\[7, 550\]"):
            angular_affinity(cosine)


def test_eigenvalues_equal_those_of_the_whole_laplacian() -> None:
    affinity = planted_affinity(12, 200)
    dense_laplacian = np.asarray(laplacian(affinity, normed=True), dtype=float)
    expected = eigh(dense_laplacian, eigvals_only=True)[:40]
    np.testing.assert_allclose(
        spectral_embedding(affinity, 40).eigenvalues, expected, rtol=0, atol=1e-10
    )


@pytest.mark.filterwarnings("ignore:Graph is not fully connected")
@pytest.mark.parametrize("isolated", [False, True])
def test_coordinates_equal_those_of_sklearn(isolated: bool) -> None:
    affinity = planted_affinity(12, 200)
    if isolated:
        affinity[17, :] = affinity[:, 17] = 0
    sklearn_labels = sklearn_embedding(affinity, n_components=12, drop_first=False, random_state=0)
    result = spectral_embedding(affinity, 12)
    assert (np.diff(result.eigenvalues) > 1e-6).all()  # no rotation to choose
    np.testing.assert_allclose(result.coordinates, sklearn_labels, rtol=0, atol=1e-9)


def test_fewer_components_are_the_first_columns_of_more() -> None:
    affinity = planted_affinity(12, 200)
    few, many = spectral_embedding(affinity, 5), spectral_embedding(affinity, 12)
    np.testing.assert_allclose(few.coordinates, many.coordinates[:, :5], rtol=0, atol=1e-10)


def test_diagonal_of_the_affinity_is_ignored() -> None:
    affinity = planted_affinity(5, 60)
    other = affinity.copy()
    np.fill_diagonal(other, np.linspace(0, 9, 60))
    np.testing.assert_allclose(
        spectral_embedding(other, 5).coordinates, spectral_embedding(affinity, 5).coordinates
    )


def test_components_of_a_disconnected_graph_are_the_clusters() -> None:
    affinity = np.kron(np.eye(4), np.ones((9, 9)))
    embedding = spectral_embedding(affinity, 4)
    np.testing.assert_allclose(embedding.eigenvalues, 0, atol=1e-12)
    labels = cluster_embedding(embedding, 4, seed=0).labels
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 9))


def test_torch_path_equals_the_lapack_path() -> None:
    affinity = planted_affinity(12, 200)
    result = spectral_embedding(affinity, 12)
    torch_path = spectral_embedding(affinity, 12, device="cpu:0")
    np.testing.assert_allclose(torch_path.eigenvalues, result.eigenvalues, rtol=0, atol=1e-12)
    np.testing.assert_allclose(torch_path.coordinates, result.coordinates, rtol=0, atol=1e-9)


def test_embedding_does_not_modify_the_affinity() -> None:
    affinity = planted_affinity(5, 60)
    before = affinity.copy()
    spectral_embedding(affinity, 5)
    np.testing.assert_array_equal(affinity, before)


def check_against_sklearn(affinity: NDArray[np.float64], counts: list[int]) -> None:
    embedding = spectral_embedding(affinity, max(counts))
    for n_clusters in counts:
        sklearn_labels = [
            SpectralClustering(
                n_clusters, affinity="precomputed", n_init=30, random_state=seed
            ).fit_predict(affinity)
            for seed in range(5)
        ]
        result = cluster_embedding(embedding, n_clusters, seed=0)
        points = sklearn_embedding(
            affinity, n_components=n_clusters, drop_first=False, random_state=0
        )
        best = min(inertia(points, labels) for labels in sklearn_labels)
        assert inertia(points, result.labels) <= 1.01 * best
        if n_clusters <= len(affinity) / 20:
            pairs = [(a, b) for i, a in enumerate(sklearn_labels) for b in sklearn_labels[:i]]
            seeds = np.mean([adjusted_rand_score(a, b) for a, b in pairs])
            agreement = np.mean([adjusted_rand_score(result.labels, a) for a in sklearn_labels])
            assert agreement >= seeds - 0.02


def test_clustering_is_as_good_as_sklearn_and_agrees_with_it_like_its_seeds() -> None:
    check_against_sklearn(planted_affinity(12, 300, cosine=0.2), [5, 12, 15])


@pytest.mark.slow
def test_clustering_matches_sklearn_for_many_clusters() -> None:
    affinity = planted_affinity(40, 600, cosine=0.15, n_params=3000)
    check_against_sklearn(affinity, [10, 25, 50, 100])


def test_labels_are_ordered_by_size_then_by_first_member() -> None:
    centres = np.eye(4)[[2, 0, 2, 1, 3, 3, 0, 3]]  # sizes 3, 2, 2, 1
    embedding = SpectralEmbedding(np.zeros(4), centres)
    clustering = cluster_embedding(embedding, 4, seed=0)
    np.testing.assert_array_equal(clustering.labels, [1, 2, 1, 3, 0, 0, 2, 0])
    assert clustering.inertia == pytest.approx(0, abs=1e-20)


def test_inertia_is_that_of_the_labels_and_never_grows_with_more_starts() -> None:
    embedding = spectral_embedding(planted_affinity(12, 300, cosine=0.1), 40)
    points = embedding.coordinates
    few, many = (cluster_embedding(embedding, 40, n_init=n, seed=3) for n in (1, 10))
    assert many.inertia <= few.inertia
    assert many.inertia == pytest.approx(inertia(points, many.labels), rel=1e-9)


def test_same_seed_gives_the_same_labels() -> None:
    embedding = spectral_embedding(planted_affinity(12, 300, cosine=0.1), 20)
    first, second, other = (cluster_embedding(embedding, 20, n_init=1, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.labels != other.labels).any()


def test_one_cluster_contains_every_member() -> None:
    embedding = spectral_embedding(planted_affinity(3, 20), 1)
    assert not cluster_embedding(embedding, 1, n_init=2, seed=0).labels.any()


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        (np.array([[1, 0.5], [0.4, 1]]), "differs from its transpose"),
        (np.array([[1, -0.5], [-0.5, 1]]), r"affinity\[0, 1\] is -0.5"),
        (np.array([[1, np.nan], [np.nan, 1]]), "finite"),
        (np.array([[1, np.inf], [np.inf, 1]]), "finite"),
    ],
)
def test_an_affinity_without_a_laplacian_is_refused(
    affinity: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_embedding(affinity, 1)


def test_counts_out_of_range_are_refused() -> None:
    affinity = planted_affinity(3, 20)
    embedding = spectral_embedding(affinity, 5)
    for n_clusters in (0, 6, 21):
        with pytest.raises(ValueError, match=f"n_clusters is {n_clusters}"):
            cluster_embedding(embedding, n_clusters, seed=0)
    for n_components in (0, 21):
        with pytest.raises(ValueError, match=f"n_components is {n_components}"):
            spectral_embedding(affinity, n_components)
    with pytest.raises(ValueError, match="n_init is 0"):
        cluster_embedding(embedding, 2, n_init=0, seed=0)


def test_clustering_does_not_modify_the_embedding() -> None:
    rng = np.random.default_rng(3)
    coordinates = rng.standard_normal((40, 4))
    before = coordinates.copy()
    coordinates.flags.writeable = False  # as it comes back from the store
    embedding = SpectralEmbedding(np.arange(4.0), coordinates)
    for n_clusters in (4, 2, 4):
        cluster_embedding(embedding, n_clusters, n_init=2, seed=0)
    np.testing.assert_array_equal(coordinates, before)


def test_clustering_does_not_depend_on_the_number_of_openmp_threads() -> None:
    embedding = spectral_embedding(planted_affinity(8, 400), 8)
    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="openmp"):
            results.append(cluster_embedding(embedding, 8, n_init=5, seed=0))
    for result in results[1:]:
        assert result.inertia == results[0].inertia
        np.testing.assert_array_equal(result.labels, results[0].labels)
