"""The map of curves: a sample of them on the two directions in which curves differ most.

Principal components of at most 20,000 curves, drawn with a fixed seed and standardised by nothing
but their mean: losses are nats at every point. Any other curve has its place on the same plane.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.read.curve_index import CurveIndex
from backend.read.losses import curve_scores
from backend.read.views import Axis
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import CurveSet

if TYPE_CHECKING:
    from backend.search.filters import FilterResult

MAX_POINTS = 20_000
SEED = 0
HASH_DIGITS = 12
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Plane:
    """Where curves lie on the map: (curve - mean) @ directions.

    Attributes:
        mean: mean curve of the sample, nats.
        directions: unit vectors, (points of the axis, 2), the largest entry of each positive.
        shares: share of the sample's variance along each.
        sample: the predictions on the map, ascending.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: tuple[float, float]
    sample: NDArray[np.int64]

    def places(self, curves: NDArray[np.float16]) -> NDArray[np.float64]:
        """Return (x, y) of curves."""
        placed: NDArray[np.float64] = (curves.astype(np.float64) - self.mean) @ self.directions
        return placed


def sample_predictions(n_predictions: int) -> NDArray[np.int64]:
    """Return the predictions on the map, ascending: all, or a fixed sample."""
    if n_predictions <= MAX_POINTS:
        return np.arange(n_predictions)
    drawn = np.random.default_rng(SEED).choice(n_predictions, MAX_POINTS, replace=False)
    return np.sort(drawn)


def curve_plane(store: Store, curve_set: CurveSet, index: CurveIndex) -> Plane:
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
        # A singular vector has no sign of its own: its largest entry is made positive.
        largest = np.abs(directions).argmax(axis=1)
        directions *= np.where(directions[[0, 1], largest] < 0, -1, 1)[:, None]
        array[1:3] = directions
        spread = (values**2).sum()
        array[3, : min(2, len(values))] = values[:2] ** 2 / spread if spread > 0 else 0

    name = cache_name("map", curve_set.key, f"{MAX_POINTS}-{SEED}")
    stored = memory_map(store, name, (4, n_points), "float64", fill)
    return Plane(stored[0], stored[1:3].T, (float(stored[3, 0]), float(stored[3, 1])), sample)


def lasso_mask(
    store: Store,
    curve_set: CurveSet,
    index: CurveIndex,
    corners: tuple[tuple[float, float], ...],
) -> NDArray[np.bool_]:
    """Return which predictions lie inside a polygon on the map, all of them, not the sample alone.

    Args:
        store: holds the caches.
        curve_set: of the map.
        index: its curves.
        corners: (x, y) in units of the map, 3 or more; a side from each to the next one.
    """
    plane = curve_plane(store, curve_set, index)
    polygon = np.array(corners)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    mask = np.zeros(index.n_predictions, np.bool_)
    for first in range(0, len(mask), ROWS_AT_ONCE):
        rows = np.arange(first, min(first + ROWS_AT_ONCE, len(mask)))
        places = plane.places(index.rows(rows))
        # Most curves lie outside the box around a lasso: its sides need not be tried for them.
        near = ((places >= low) & (places <= high)).all(axis=1)
        mask[rows[near]] = _inside(places[near], polygon)
    return mask


def _inside(places: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which places have an odd number of sides to their right."""
    inside = np.zeros(len(places), np.bool_)
    x, y = places.T
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


@dataclass(frozen=True)
class CurveMap:
    """Points of the map, one entry a sampled prediction, ascending by index.

    Attributes:
        corpus: name of the corpus.
        suite: name of the suite.
        axis: "N" or "S".
        model: name of the model on axis "S".
        curves: hash of these curves; a lasso drawn on them is sent with it.
        n_predictions: of the corpus; the map shows at most 20,000 of them.
        n_matching: of all predictions, how many match the filters.
        truncated: why a text filter is not whole, None if it is.
        shares: share of the variance along x and y.
        classes: names of the curve classes.
        index: prediction.
        x: place along the first principal component, nats.
        y: place along the second.
        curve_class: code of the curve's class, an index into `classes`; 255 for none.
        matching: whether it matches the filters.
    """

    corpus: str
    suite: str
    axis: Axis
    model: str | None
    curves: str
    n_predictions: int
    n_matching: int
    truncated: str | None
    shares: tuple[float, float]
    classes: tuple[str, ...]
    index: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    curve_class: NDArray[np.uint8]
    matching: NDArray[np.bool_]


def map_points(
    store: Store, curve_set: CurveSet, index: CurveIndex, filtered: "FilterResult"
) -> CurveMap:
    """Return the points of the map; `filtered` says which of them match."""
    from compute.curve_classes import CURVE_CLASSES

    plane = curve_plane(store, curve_set, index)
    places = plane.places(index.rows(plane.sample)).astype(np.float32)
    mask = filtered.mask
    return CurveMap(
        corpus=curve_set.corpus.name,
        suite=curve_set.suite.name,
        axis="N" if curve_set.axis == "N" else "S",
        model=curve_set.model.name if curve_set.model else None,
        curves=curve_set.key[:HASH_DIGITS],
        n_predictions=index.n_predictions,
        n_matching=filtered.n_matching,
        truncated=filtered.truncated,
        shares=plane.shares,
        classes=CURVE_CLASSES,
        index=plane.sample,
        x=places[:, 0],
        y=places[:, 1],
        curve_class=curve_scores(store, curve_set, "curve_class")[plane.sample],
        matching=np.ones(len(plane.sample), np.bool_) if mask is None else mask[plane.sample],
    )
