"""Nearest curves by shape: what distance means, and the plain way to find the least.

The distance of two curves is the squared difference of their losses (nats²), averaged over the
logarithm of the axis: each point weighs half the log distance between its neighbours, so that
densely sampled stretches do not count more. What a search may ignore, its invariances:

* level: both curves lose their mean (with those weights) first, so that a constant number of nats
  on top does not matter;
* scale: both lose their mean and are divided by their standard deviation, so that neither level nor
  height matters; the distance is then a pure number, 2 - 2 x correlation. A curve whose standard
  deviation is below `FLAT_STD_NATS` has no shape: it is not comparable and never found;
* shift: the least distance over shifts of the asked curve by whole points of the axis, at most half
  of the axis and `MAX_SHIFT` either way. Shifted to the right (+) by s points, its first value
  stands at the first s + 1 points and its last s values are gone; to the left (-) likewise at the
  other end. Mean and standard deviation are those of the shifted curve, and a shift that leaves it
  flat is left out under `scale`. Of equal shifts the shorter counts, then the one to the left.

Rows are predictions, columns points of the axis in ascending order. All arithmetic is in float64
and in one stated order, point by point, so that every way to search gives the same numbers.
Curves with a loss that is not finite are not comparable.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

INVARIANCES: tuple[str, ...] = ("level", "scale", "shift")
# float16 keeps 6 nats to 0.002: below this, what is left of a curve's shape is rounding.
FLAT_STD_NATS = 0.05
MAX_SHIFT = 16
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class QueryCurve:
    """A curve to search for, made ready.

    Attributes:
        curve: as asked for, nats.
        shifted: the curve at every shift that is allowed, without mean under `level` and `scale`,
            with standard deviation 1 under `scale`.
        shifts: points by which each row is shifted, the preferred ones first.
        weights: of the points, > 0, sum 1.
        is_levelled: both sides lose their mean.
        is_scaled: both sides lose their mean and are divided by their standard deviation.
    """

    curve: Float[np.ndarray, " points"]
    shifted: Float[np.ndarray, "shifts points"]
    shifts: Int[np.ndarray, " shifts"]
    weights: Float[np.ndarray, " points"]
    is_levelled: bool
    is_scaled: bool


@dataclass(frozen=True)
class NearestCurves:
    """The curves found, nearest first, ties by index.

    Attributes:
        indices: rows of the searched curves.
        distances: nats², or a pure number under `scale`.
        shifts: points by which the asked curve was shifted to get there.
    """

    indices: Int[np.ndarray, " found"]
    distances: Float[np.ndarray, " found"]
    shifts: Int[np.ndarray, " found"]


def log_axis_weights(axis: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Share of the log axis that each point stands for (trapezoid rule); sums to 1.

    Args:
        axis: sizes or steps, > 0 and strictly increasing, at least 2.

    Raises:
        ValueError: the axis is not like that.
    """
    if len(axis) < 2 or not (axis[0] > 0 and (np.diff(axis) > 0).all()):
        raise ValueError("the axis must have two points or more, above 0 and increasing")
    steps = np.diff(np.log(axis))
    weights = np.zeros(len(axis))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    shares: Float[np.ndarray, " points"] = weights / weights.sum()
    return shares


def query_curve(
    curve: Float[np.ndarray, " points"],
    axis: Float[np.ndarray, " points"],
    invariances: Collection[str] = (),
) -> QueryCurve:
    """Make a curve ready to be searched for.

    Args:
        curve: loss in nats at the points of the axis, finite.
        axis: sizes or steps, > 0 and strictly increasing.
        invariances: any of `INVARIANCES`; the module says what they mean.

    Raises:
        ValueError: an unknown invariance, a curve that does not fit the axis, or one that is flat
            under `scale`.
    """
    unknown = sorted(set(invariances) - set(INVARIANCES))
    if unknown:
        raise ValueError(f"there is no invariance {unknown[0]!r}; there are level, scale and shift")
    weights = log_axis_weights(axis)
    values = np.asarray(curve, dtype=np.float64)
    if values.shape != weights.shape or not np.isfinite(values).all():
        raise ValueError(f"the curve needs {len(axis)} finite values, one for each point")
    is_scaled = "scale" in invariances
    is_levelled = is_scaled or "level" in invariances
    shifts = _shifts(len(axis)) if "shift" in invariances else np.zeros(1, dtype=np.int64)
    places = np.clip(np.arange(len(axis)) - shifts[:, None], 0, len(axis) - 1)
    shifted = _prepared(values[places], weights, is_levelled, is_scaled)
    usable = np.isfinite(shifted).all(axis=1)
    if not usable[0]:
        raise ValueError(
            f"the asked curve is flat (standard deviation below {FLAT_STD_NATS} nats), so it has "
            "no shape to compare at any scale; leave the invariance scale out"
        )
    return QueryCurve(values, shifted[usable], shifts[usable], weights, is_levelled, is_scaled)


def _shifts(n_points: int) -> Int[np.ndarray, " shifts"]:
    """0, -1, 1, -2, 2, … as far as a curve may be shifted."""
    most = min(MAX_SHIFT, (n_points - 1) // 2)
    pairs = [(-s, s) for s in range(1, most + 1)]
    return np.array([0, *(s for pair in pairs for s in pair)], dtype=np.int64)


def _prepared(
    curves: Float[np.ndarray, "rows points"],
    weights: Float[np.ndarray, " points"],
    is_levelled: bool,
    is_scaled: bool,
) -> Float[np.ndarray, "rows points"]:
    """Curves as they are compared, in float64; NaN where they are not comparable."""
    values = curves.astype(np.float64)
    if not is_levelled:
        return values
    # Sums run point by point, not through BLAS: the same order for one row or a million.
    values -= _weighted_sum(values, weights)[:, None]
    if is_scaled:
        std = np.sqrt(_weighted_sum(values * values, weights))
        std[~(std >= FLAT_STD_NATS)] = np.nan
        values /= std[:, None]
    return values


def _weighted_sum(
    values: Float[np.ndarray, "rows points"], weights: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " rows"]:
    total = np.zeros(len(values))
    for point, weight in enumerate(weights):
        total += weight * values[:, point]
    return total


def shape_distances(
    curves: Float[np.ndarray, "rows points"], asked: QueryCurve
) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Distance of every curve to the asked one, and the shift it was found at.

    Args:
        curves: losses in nats, any float dtype.
        asked: what to compare with.

    Returns:
        Distances in float64, infinite where a curve is not comparable, and shifts in points.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        prepared = _prepared(curves, asked.weights, asked.is_levelled, asked.is_scaled)
        best = np.full(len(curves), np.inf)
        shift = np.zeros(len(curves), dtype=np.int64)
        for points, row in zip(asked.shifts, asked.shifted, strict=True):
            differences = prepared - row
            distance = _weighted_sum(differences * differences, asked.weights)
            is_nearer = distance < best
            best[is_nearer] = distance[is_nearer]
            shift[is_nearer] = points
    return best, shift


def nearest_by_brute_force(
    curves: Float[np.ndarray, "rows points"],
    asked: QueryCurve,
    limit: int,
    mask: Bool[np.ndarray, " rows"] | None = None,
    after: tuple[float, int] | None = None,
) -> NearestCurves:
    """The nearest curves, by comparing all of them: the reference for every faster way.

    Args:
        curves: losses in nats, any float dtype.
        asked: what to search for.
        limit: how many to return at most.
        mask: which rows may be found; all by default.
        after: (distance, index) of the last one that was returned before; only what follows it in
            the order counts.

    Returns:
        At most `limit` curves in order of (distance, index).
    """
    found = [merge_nearest([], limit)]
    for first in range(0, len(curves), ROWS_AT_ONCE):
        block = curves[first : first + ROWS_AT_ONCE]
        distance, shift = shape_distances(block, asked)
        wanted = np.isfinite(distance)
        if mask is not None:
            wanted &= mask[first : first + len(block)]
        rows = np.flatnonzero(wanted)
        if after is not None:
            rows = rows[_follows(distance[rows], rows + first, after)]
        part = NearestCurves(rows + first, distance[rows], shift[rows])
        found = [merge_nearest([*found, part], limit)]
    return found[0]


def _follows(
    distances: Float[np.ndarray, " rows"],
    indices: Int[np.ndarray, " rows"],
    after: tuple[float, int],
) -> Bool[np.ndarray, " rows"]:
    tie = (distances == after[0]) & (indices > after[1])
    follows: Bool[np.ndarray, " rows"] = (distances > after[0]) | tie
    return follows


def merge_nearest(parts: list[NearestCurves], limit: int) -> NearestCurves:
    """The nearest of several results together, at most `limit`."""
    none = np.empty(0, dtype=np.int64)
    indices = np.concatenate([none, *(part.indices for part in parts)])
    distances = np.concatenate([none.astype(np.float64), *(part.distances for part in parts)])
    shifts = np.concatenate([none, *(part.shifts for part in parts)])
    order = np.lexsort((indices, distances))[:limit]
    return NearestCurves(indices[order], distances[order], shifts[order])
