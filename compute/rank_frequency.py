"""Rank-frequency curve of cluster sizes, and its slope. Source: arXiv:2303.13506, section 5.

If quanta are used with frequencies p_k proportional to k^-(1 + alpha), and the mean loss scales as
N^-alpha_N with alpha_N = alpha, then cluster sizes fall with rank as rank^-(1 + alpha_N).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

PUBLISHED_SLOPE = -1.237  # ranks 101 to 1000 of the envelope, pythia-70m-v0
PUBLISHED_THEORY_SLOPE = -1.083  # -(1 + 0.083)
PUBLISHED_WINDOW = (101, 1000)
FALLBACK_FIRST_RANK = 5
FALLBACK_LEAST_SIZE = 5
MIN_RANKS = 3

Sizes = Int[np.ndarray, " clusters"] | Sequence[int]
_Envelope = Float[np.ndarray, " ranks"]


@dataclass(frozen=True)
class RankFrequency:
    """Cluster sizes by rank (entry 0 is rank 1).

    Attributes:
        sizes: sizes for each number of clusters, largest first.
        envelope: largest size at each rank over all numbers of clusters.
    """

    sizes: dict[int, Int[np.ndarray, " _"]]
    envelope: _Envelope


@dataclass(frozen=True)
class SlopeFit:
    """Straight line ln size = intercept + slope * ln rank.

    Attributes:
        slope: least squares.
        intercept: ln size at rank 1.
        first_rank: first rank of the window, from 1.
        last_rank: last rank of the window, included.
        n_points: number of ranks in the window.
        comparable_to_published: whether the window is the published one, ranks 101 to 1000.
    """

    slope: float
    intercept: float
    first_rank: int
    last_rank: int
    n_points: int
    comparable_to_published: bool


def rank_frequency(sizes_by_n_clusters: Mapping[int, Sizes]) -> RankFrequency:
    """Return sizes by rank for each number of clusters, and their envelope.

    Sizes may be in any order; empty clusters are skipped.

    Raises:
        ValueError: no cluster has members, or a size is negative.
    """
    return RankFrequency(
        {n: _sorted_sizes(sizes_by_n_clusters[n], n) for n in sorted(sizes_by_n_clusters)},
        rank_frequency_envelope(sizes_by_n_clusters),
    )


def rank_frequency_envelope(sizes_by_n_clusters: Mapping[int, Sizes]) -> _Envelope:
    """Return the largest size at each rank over all numbers of clusters; entry 0 is rank 1.

    Raises:
        ValueError: no cluster has members, or a size is negative.
    """
    ordered = [_sorted_sizes(sizes, n) for n, sizes in sizes_by_n_clusters.items()]
    if not any(len(sizes) for sizes in ordered):
        raise ValueError("no cluster sizes; give at least one clustering with members")
    envelope = np.zeros(max(len(sizes) for sizes in ordered))
    for sizes in ordered:
        np.maximum(envelope[: len(sizes)], sizes, out=envelope[: len(sizes)])
    return envelope


def envelope_slope(envelope: _Envelope, window: tuple[int, int] | None = None) -> SlopeFit:
    """Fit the log-log slope of the envelope.

    The default window is ranks 101 to 1000 if the envelope reaches rank 1000, comparable to the
    published slope; else rank 5 to the last rank of size >= 5, not comparable.

    Args:
        envelope: size at rank 1, 2, …; positive, non-increasing.
        window: first and last rank of the fit, both included, from 1.

    Raises:
        ValueError: the window has fewer than 3 ranks or exceeds the envelope, or a size in it is
            not positive.
    """
    first, last = _default_window(envelope) if window is None else window
    if first < 1 or last > len(envelope) or last - first + 1 < MIN_RANKS:
        raise ValueError(
            f"ranks {first} to {last} of an envelope of {len(envelope)}: want at least {MIN_RANKS} "
            "ranks of it; cluster more predictions or choose another window"
        )
    sizes = np.asarray(envelope[first - 1 : last], dtype=np.float64)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(
            f"sizes at ranks {first} to {last} must be finite and > 0; shorten the window"
        )
    x, y = np.log(np.arange(first, last + 1)), np.log(sizes)
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    intercept = float(y.mean() - slope * x.mean())
    comparable = (first, last) == PUBLISHED_WINDOW
    return SlopeFit(slope, intercept, first, last, last - first + 1, comparable)


def theory_slope(alpha_n: float) -> float:
    """Return the slope of ln size on ln rank if loss ∝ N^-alpha_n (arXiv:2303.13506, section 2)."""
    return -(1 + alpha_n)


def _default_window(envelope: _Envelope) -> tuple[int, int]:
    if len(envelope) >= PUBLISHED_WINDOW[1]:
        return PUBLISHED_WINDOW
    return FALLBACK_FIRST_RANK, int(np.count_nonzero(envelope >= FALLBACK_LEAST_SIZE))


def _sorted_sizes(sizes: Sizes, n_clusters: int) -> Int[np.ndarray, " ranks"]:
    values = np.asarray(sizes, dtype=np.int64)
    if (values < 0).any():
        raise ValueError(f"n_clusters {n_clusters} has a size of {values.min()}, want >= 0")
    return np.sort(values[values > 0])[::-1]
