"""The plane of the curve map: the two directions in which curves differ most.

Principal components of at most 20,000 curves, sampled with a fixed seed and centred on their mean;
they are not standardised, because losses are nats at every point. Every other curve can be
projected onto the same plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.read.curve_index import CurveIndex
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import CurveSet

MAX_POINTS = 20_000
SEED = 0
ROWS_PER_BATCH = 65_536


@dataclass(frozen=True)
class CurvePlane:
    """Projection of curves onto the map: (curve - mean) @ directions.

    Attributes:
        mean: mean curve of the sample, nats.
        directions: unit vectors, (points of the axis, 2), the largest entry of each positive.
        shares: share of the sample's variance along each direction.
        sample: indices of the sampled predictions, ascending.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: tuple[float, float]
    sample: NDArray[np.int64]

    def project(self, curves: NDArray[np.float16]) -> NDArray[np.float64]:
        """Return (x, y) of curves, (curves, 2)."""
        projected: NDArray[np.float64] = (curves.astype(np.float64) - self.mean) @ self.directions
        return projected


def sample_predictions(n_predictions: int) -> NDArray[np.int64]:
    """Return the predictions on the map, ascending: all, or a fixed sample."""
    if n_predictions <= MAX_POINTS:
        return np.arange(n_predictions)
    sample = np.random.default_rng(SEED).choice(n_predictions, MAX_POINTS, replace=False)
    return np.sort(sample)


def curve_plane(store: Store, curve_set: CurveSet, index: CurveIndex) -> CurvePlane:
    """Return the plane of a curve set, from the cache."""
    sample = sample_predictions(index.n_predictions)
    n_points = len(index.axis)

    def fill(array: NDArray[Any]) -> None:
        from scipy.linalg import svd

        curves = index.rows(sample).astype(np.float64)
        array[0] = curves.mean(axis=0)
        _, values, rows = svd(curves - array[0], full_matrices=False)
        directions = np.zeros((2, n_points))
        directions[: min(2, len(rows))] = rows[:2]
        # The sign of a singular vector is arbitrary: make its largest entry positive.
        largest = np.abs(directions).argmax(axis=1)
        directions *= np.where(directions[[0, 1], largest] < 0, -1, 1)[:, None]
        array[1:3] = directions
        spread = (values**2).sum()
        array[3, : min(2, len(values))] = values[:2] ** 2 / spread if spread > 0 else 0

    name = cache_name("map", curve_set.key, f"{MAX_POINTS}-{SEED}")
    stored = memory_map(store, name, (4, n_points), "float64", fill)
    return CurvePlane(stored[0], stored[1:3].T, (float(stored[3, 0]), float(stored[3, 1])), sample)


def lasso_mask(
    store: Store, curve_set: CurveSet, index: CurveIndex, corners: tuple[tuple[float, float], ...]
) -> NDArray[np.bool_]:
    """Return which predictions lie inside a polygon on the map, sampled or not.

    `corners` are 3 or more (x, y) in units of the map; the last one is joined to the first.
    """
    plane = curve_plane(store, curve_set, index)
    polygon = np.array(corners)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    mask = np.zeros(index.n_predictions, np.bool_)
    for first in range(0, len(mask), ROWS_PER_BATCH):
        rows = np.arange(first, min(first + ROWS_PER_BATCH, len(mask)))
        points = plane.project(index.rows(rows))
        # Most curves lie outside the bounding box, which is quicker to test than the sides.
        is_near = ((points >= low) & (points <= high)).all(axis=1)
        mask[rows[is_near]] = _inside(points[is_near], polygon)
    return mask


def _inside(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points have an odd number of sides to their right."""
    inside = np.zeros(len(points), np.bool_)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
