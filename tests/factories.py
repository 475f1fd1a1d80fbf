"""Small data with known answers, shared by tests."""

import numpy as np
from numpy.typing import NDArray


def planted_sizes(n_clusters: int, total: int, exponent: float = 1.08) -> list[int]:
    """Cluster sizes proportional to rank^-exponent, largest first, summing to total, each >= 1."""
    shares = np.arange(1, n_clusters + 1, dtype=float) ** -exponent
    sizes = np.maximum(1, np.floor(total * shares / shares.sum())).astype(int)
    sizes[0] += total - sizes.sum()
    return [int(size) for size in sizes]


def planted_gradients(
    sizes: list[int], cosine: float, n_params: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit rows around random unit centres, in shuffled order, with the cluster of each.

    A row is sqrt(c)·centre + sqrt(1 - c)·noise with unit noise exactly orthogonal to its centre, so
    two rows of one cluster have expected cosine exactly c, and rows of different clusters 0.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), n_params)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    own = centres[labels]
    noise = rng.standard_normal(own.shape, dtype=np.float32)
    noise -= np.einsum("ij,ij->i", noise, own)[:, None] * own
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.float32(cosine**0.5) * own + np.float32((1 - cosine) ** 0.5) * noise, labels
