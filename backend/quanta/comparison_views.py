"""Views of two clusterings side by side: plain data without a database."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterMatch:
    """A cluster of a and the cluster of b that is most like it.

    `jaccard` = shared / (size_a + size_b - shared), over common predictions. `mutual` says that
    neither has a better partner.
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
    """Agreement of clusterings a and b over the `n_common` predictions that both hold.

    `overlap[i][j]` counts predictions in rank i + 1 of a and rank j + 1 of b, for the first ranks
    of each; `truncated` says that there are more ranks. `matches` has one entry for every cluster
    of a that holds a common prediction, by rank.
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
