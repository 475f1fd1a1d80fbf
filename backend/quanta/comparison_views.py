"""Views of a comparison of two clusterings (see backend/read/views.py)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterMatch:
    """A cluster of a and the most similar cluster of b.

    `jaccard` = shared / (size_a + size_b - shared), over common predictions. `mutual`: each is
    the best match of the other.
    """

    cluster_a: int
    rank_a: int
    size_a: int
    cluster_b: int
    rank_b: int
    size_b: int
    shared: int
    jaccard: float
    mutual: bool


@dataclass(frozen=True)
class Comparison:
    """Agreement of clusterings a and b over their `n_common` common predictions.

    `overlap[i][j]` counts predictions in rank i + 1 of a and rank j + 1 of b, for the first ranks
    of each; `truncated`: there are more ranks. `matches` has one entry for every cluster
    of a with a common prediction, by rank.
    """

    a: int
    b: int
    n_clusters_a: int
    n_clusters_b: int
    n_common: int
    ari: float
    nmi: float
    overlap: tuple[tuple[int, ...], ...]
    truncated: bool
    matches: tuple[ClusterMatch, ...]
