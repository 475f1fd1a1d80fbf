"""Values of the isotonic fits that `compute.isotonic` computes features of."""

import numpy as np
from numpy.typing import NDArray

from compute.isotonic import _fit_segments


def isotonic_fits(
    curves: NDArray[np.float64], positions: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the non-increasing fit of every curve at `at`, one row per curve."""
    values = []
    for curve in np.asarray(curves, np.float64):
        highs, lows, widths = np.empty((3, 2 * len(positions) + 2))
        n = _fit_segments(curve, positions, highs, lows, widths)
        edges = np.cumsum([positions[0], *widths[:n]])
        k = np.searchsorted(edges[1:n], at, side="right")
        share = np.clip((at - edges[k]) / widths[k], 0, 1)
        values.append(highs[k] + (lows[k] - highs[k]) * share)
    return np.array(values)
