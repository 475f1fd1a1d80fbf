"""Spectral clustering of gradients, with one eigendecomposition for all numbers of clusters.

Follows scikit-learn's SpectralClustering(affinity="precomputed"): symmetric normalised Laplacian of
the affinity without its diagonal, the first n_clusters eigenvectors including the trivial one,
scaled by D^-1/2, rows not normalised, then k-means. Source: arXiv:2303.13506, section 5. All
arithmetic is float64.
"""

from dataclasses import dataclass
from math import log, pi

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int, Int32
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

BLOCK_ROWS = 512  # rows of temporaries in n x n operations
COSINE_SLACK = 0.01  # rounding exceeds 1 by less, even in bfloat16
SYMMETRY_TOLERANCE = 1e-8
SWAPS_PER_CLUSTER = 3
Matrix = Float[np.ndarray, "members members"]
_Block = Float[np.ndarray, "rows members"]
_Centres = Int[np.ndarray, " clusters"]
_Labels = Int[np.ndarray, " members"]


@dataclass(frozen=True)
class SpectralEmbedding:
    """Spectral embedding; m clusters use the first m columns.

    Attributes:
        eigenvalues: of the symmetric normalised Laplacian, ascending, in [0, 2].
        coordinates: eigenvectors scaled by D^-1/2, each with its largest entry positive.
    """

    eigenvalues: Float[np.ndarray, " components"]
    coordinates: Float[np.ndarray, "members components"]


@dataclass(frozen=True)
class Clustering:
    """A k-means clustering; label 0 is the largest cluster, so label + 1 is its rank.

    Clusters of equal size are ordered by their first member. `inertia` is the sum of squared
    distances to the centres, of the best of `n_init` starts.
    """

    labels: Int32[np.ndarray, " members"]
    inertia: float
    n_clusters: int
    n_init: int
    seed: int


def angular_affinity(cosine: Matrix) -> Matrix:
    """Return the affinity 1 - arccos(cosine)/pi; allocates one float64 matrix.

    The cosines are averaged with their transpose, then clamped to [-1, 1], since rounding may
    exceed it and arccos is NaN there. The diagonal is 1.

    Raises:
        ValueError: not square, not finite, or outside [-1, 1] by more than rounding.
    """
    _check_square(cosine, "cosine")
    affinity = np.empty(cosine.shape)
    for start in range(0, len(cosine), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        mean = (cosine[rows].astype(np.float64) + cosine[:, rows].T) / 2
        _check_entries(mean, start, "cosine", -1 - COSINE_SLACK, 1 + COSINE_SLACK)
        np.clip(mean, -1, 1, out=mean)
        affinity[rows] = 1 - np.arccos(mean, out=mean) / pi
    np.fill_diagonal(affinity, 1)
    return affinity


def spectral_embedding(
    affinity: Matrix, n_components: int, device: str = "cpu"
) -> SpectralEmbedding:
    """Embed members by the first eigenvectors of the normalised Laplacian, with a dense solver.

    The first m columns are the k-means input of scikit-learn for m clusters, up to rotation among
    equal eigenvalues. A member without affinity to any other has degree 1.

    Args:
        affinity: symmetric, >= 0; the diagonal is ignored.
        n_components: number of eigenvectors, from 1 to members.
        device: "cpu" (LAPACK, only the required eigenvectors) or a torch device such as "cuda".

    Raises:
        ValueError: the affinity is not square, finite, non-negative and symmetric, or n_components
            is out of range.
    """
    _check_square(affinity, "affinity")
    if not 1 <= n_components <= len(affinity):
        raise ValueError(
            f"n_components is {n_components}, want 1 to {len(affinity)}, the number of members"
        )
    laplacian, root_degree = _normalised_laplacian(affinity)
    if device == "cpu":
        # LAPACK is column-major: the transpose of a symmetric matrix avoids a copy.
        eigenvalues, vectors = scipy.linalg.eigh(
            laplacian.T, subset_by_index=[0, n_components - 1], overwrite_a=True, check_finite=False
        )
    else:
        eigenvalues, vectors = _torch_eigenvectors(laplacian, n_components, device)
    vectors /= root_degree[:, None]
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.where(vectors[largest, np.arange(n_components)] < 0, -1, 1)
    return SpectralEmbedding(eigenvalues, np.ascontiguousarray(vectors))


def cluster_embedding(
    embedding: SpectralEmbedding, n_clusters: int, *, n_init: int = 30, seed: int
) -> Clustering:
    """Cluster members by k-means on the first n_clusters coordinates.

    Starts are k-means++ improved by swaps; scikit-learn's k-means runs from each. All starts share
    one members x members distance matrix, so that 30 of them are several times faster than
    scikit-learn's own, with an inertia as good.

    The start of least inertia wins; labels are ordered by cluster size.

    Raises:
        ValueError: n_clusters or n_init is out of range.
    """
    members, components = embedding.coordinates.shape
    if not 1 <= n_clusters <= min(members, components):
        raise ValueError(
            f"n_clusters is {n_clusters}, want 1 to {min(members, components)}: there are "
            f"{members} members and {components} components; embed more or choose fewer"
        )
    if n_init < 1:
        raise ValueError(f"n_init is {n_init}, want at least 1 start")
    points = np.ascontiguousarray(embedding.coordinates[:, :n_clusters])
    points = points - points.mean(axis=0)  # not in place: may be a view of the embedding
    distances = _squared_distances(points)
    generator = np.random.default_rng(seed)
    starts = (_improved_start(distances, n_clusters, generator) for _ in range(n_init))
    runs = (KMeans(n_clusters, init=points[start], n_init=1).fit(points) for start in starts)
    # One OpenMP thread: results depend on their number, which other libraries change.
    with threadpool_limits(1, user_api="openmp"):
        best = min(runs, key=lambda run: float(run.inertia_))
    labels = _labels_by_size(best.labels_, n_clusters)
    return Clustering(labels, float(best.inertia_), n_clusters, n_init, seed)


def _squared_distances(points: Float[np.ndarray, "members components"]) -> Matrix:
    distances: Matrix = points @ points.T
    norms = distances.diagonal().copy()
    distances *= -2
    distances += norms
    distances += norms[:, None]
    np.maximum(distances, 0, out=distances)
    np.fill_diagonal(distances, 0)
    return distances


def _kmeans_plus_plus(
    distances: Matrix, n_clusters: int, generator: np.random.Generator
) -> _Centres:
    """Choose centres by greedy k-means++ as in scikit-learn, from precomputed distances."""
    n_trials = 2 + int(log(n_clusters))
    centres = np.empty(n_clusters, dtype=np.int64)
    centres[0] = generator.integers(len(distances))
    closest = distances[centres[0]]
    for index in range(1, n_clusters):
        cumulative = np.cumsum(closest)
        trials = np.searchsorted(cumulative, generator.random(n_trials) * cumulative[-1])
        candidates = np.minimum(closest, distances[trials])
        best = candidates.sum(axis=1).argmin()
        centres[index], closest = trials[best], candidates[best]
    return centres


def _improved_start(distances: Matrix, n_clusters: int, generator: np.random.Generator) -> _Centres:
    """Choose centres by k-means++ and LocalSearch++ swaps (Lattanzi and Sohler, ICML 2019).

    A swap samples a member as in k-means++, which replaces the centre of least removal cost if that
    lowers the inertia. With plain k-means++ the best of 30 starts is up to 1.5 % above other seeds.
    """
    centres = _kmeans_plus_plus(distances, n_clusters, generator)
    to_centre = distances[centres]
    own, first, second = _two_nearest(to_centre)
    for _ in range(SWAPS_PER_CLUSTER * n_clusters if n_clusters > 1 else 0):
        cumulative = np.cumsum(first)
        member = np.searchsorted(cumulative, generator.random() * cumulative[-1])
        distance = distances[member]
        closest = np.minimum(first, distance)
        increase = np.minimum(second, distance) - closest
        removal_costs = np.bincount(own, weights=increase, minlength=n_clusters)
        worst = removal_costs.argmin()
        if closest.sum() + removal_costs[worst] >= cumulative[-1] * (1 - 1e-12):
            continue
        changed = np.flatnonzero((to_centre[worst] <= second) | (distance < second))
        centres[worst], to_centre[worst] = member, distance
        own[changed], first[changed], second[changed] = _two_nearest(to_centre[:, changed])
    return centres


def _two_nearest(
    to_centre: Float[np.ndarray, "clusters members"],
) -> tuple[_Labels, Float[np.ndarray, " members"], Float[np.ndarray, " members"]]:
    """Return the nearest centre of each member, and squared distances to the nearest two."""
    order = np.argpartition(to_centre, min(1, len(to_centre) - 1), axis=0)[:2]
    least = np.take_along_axis(to_centre, order, axis=0)
    return order[0], least[0], least[-1]


def _labels_by_size(labels: _Labels, n_clusters: int) -> Int32[np.ndarray, " members"]:
    """Renumber clusters by size, largest first, ties by the first member."""
    sizes = np.bincount(labels, minlength=n_clusters)
    first = np.full(n_clusters, len(labels))
    np.minimum.at(first, labels, np.arange(len(labels)))
    rank = np.empty(n_clusters, dtype=np.int32)
    rank[np.lexsort((first, -sizes))] = np.arange(n_clusters, dtype=np.int32)
    ranks: Int32[np.ndarray, " members"] = rank[labels]
    return ranks


def _normalised_laplacian(affinity: Matrix) -> tuple[Matrix, Float[np.ndarray, " members"]]:
    """Return I - D^-1/2 A D^-1/2 with a zero diagonal of A, and the diagonal of D^1/2."""
    laplacian = np.empty(affinity.shape)
    for start in range(0, len(affinity), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        laplacian[rows] = affinity[rows]
        _check_entries(laplacian[rows], start, "affinity", 0.0, np.inf)
        _check_symmetric(laplacian[rows], affinity[:, rows].T, start)
    np.fill_diagonal(laplacian, 0)
    degree = laplacian.sum(axis=1)
    root_degree = np.where(degree == 0, 1, np.sqrt(degree))
    laplacian /= -root_degree
    laplacian /= root_degree[:, None]
    np.fill_diagonal(laplacian, 1)
    return laplacian, root_degree


def _torch_eigenvectors(
    laplacian: Matrix, n_components: int, device: str
) -> tuple[Float[np.ndarray, " components"], Float[np.ndarray, "members components"]]:
    """Return the same eigenpairs, computed by torch in float64 on a device."""
    import torch

    eigenvalues, vectors = torch.linalg.eigh(torch.from_numpy(laplacian).to(device))
    return (
        eigenvalues[:n_components].cpu().numpy(),
        vectors[:, :n_components].cpu().numpy().copy(),
    )


def _check_square(matrix: Float[np.ndarray, "..."], name: str) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"{name} has shape {matrix.shape}; give one row and one column per member")


def _check_entries(block: _Block, start: int, name: str, low: float, high: float) -> None:
    """Raise if an entry is not finite or outside [low, high]; `start` is the first row's number."""
    is_valid = (block >= low) & (block <= high) & (block < np.inf)
    if not is_valid.all():
        row, column = (int(index) for index in np.argwhere(~is_valid)[0])
        raise ValueError(
            f"{name}[{start + row}, {column}] is {block[row, column]:g}, want a finite value from "
            f"{low:g} to {high:g}; drop that member or repair the matrix"
        )


def _check_symmetric(block: _Block, mirror: _Block, start: int) -> None:
    gap = np.abs(block - mirror)
    if gap.max() > SYMMETRY_TOLERANCE:
        row, column = (int(index) for index in np.argwhere(gap > SYMMETRY_TOLERANCE)[0])
        raise ValueError(
            f"affinity[{start + row}, {column}] differs from its transpose by "
            f"{gap[row, column]:g}; average the matrix with its transpose"
        )
