"""Nearest curves by shape: the definition of the distance, and a brute-force search.

The distance of two curves is the squared difference of their losses (nats²), averaged over the
logarithm of the axis: the weight of a point is half the log distance between its neighbours, so
densely sampled stretches do not count more. A search may ignore these differences (invariances):

* level: both curves are centred (their weighted mean is subtracted), so a constant offset in nats
  does not matter;
* scale: both curves are centred and divided by their standard deviation, so neither level nor
  height matters; the distance is then a pure number, 2 - 2 x correlation. A curve with a standard
  deviation below `FLAT_STD_NATS` has no shape and never matches;
* shift: the least distance over shifts of the query curve by whole points of the axis, at most half
  of the axis and `MAX_SHIFT` either way. A shift to the right (+) by s points repeats the first
  value s times and drops the last s values; a shift to the left (-) does the opposite. Mean and
  standard deviation are those of the shifted curve, and under `scale` a shift that leaves a flat
  curve is skipped. Ties go to the shorter shift, then to the left.

Rows are predictions, columns points of the axis in ascending order. All arithmetic is float64 in a
fixed order, point by point, so that every implementation gives the same numbers. Curves with a loss
that is not finite never match.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

INVARIANCES: tuple[str, ...] = ("level", "scale", "shift")
# float16 resolves 6 nats to 0.002: the shape of a flatter curve is mostly rounding error.
FLAT_STD_NATS = 0.05
MAX_SHIFT = 16
BLOCK_ROWS = 65_536
Curve = Float[np.ndarray, " points"]
Curves = Float[np.ndarray, "rows points"]
_Distances = Float[np.ndarray, " rows"]


@dataclass(frozen=True)
class QueryCurve:
    """A query curve, normalized and shifted in advance.

    Attributes:
        curve: the query in nats, not normalized.
        shifted: the query at every shift; centred under `level` and `scale`, with standard
            deviation 1 under `scale`.
        shifts: points by which each row is shifted, preferred shifts first.
        weights: of the points, > 0, sum 1.
        is_levelled: whether curves are centred.
        is_scaled: whether curves are centred and divided by their standard deviation.
    """

    curve: Curve
    shifted: Float[np.ndarray, "shifts points"]
    shifts: Int[np.ndarray, " shifts"]
    weights: Curve
    is_levelled: bool
    is_scaled: bool


@dataclass(frozen=True)
class NearestCurves:
    """Search results, nearest first, ties by index.

    Attributes:
        indices: rows of the searched curves.
        distances: nats², or a pure number under `scale`.
        shifts: shift of the query curve, in points, that gives this distance.
    """

    indices: Int[np.ndarray, " matches"]
    distances: Float[np.ndarray, " matches"]
    shifts: Int[np.ndarray, " matches"]


def log_axis_weights(axis: Curve) -> Curve:
    """Weight of each point on the log axis (trapezoid rule); sums to 1.

    Raises:
        ValueError: the axis is too short, not positive or not increasing.
    """
    if len(axis) < 2 or not (axis[0] > 0 and (np.diff(axis) > 0).all()):
        raise ValueError("the axis needs at least two points, > 0 and strictly increasing")
    steps = np.diff(np.log(axis))
    weights = np.zeros(len(axis))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    shares: Curve = weights / weights.sum()
    return shares


def query_curve(curve: Curve, axis: Curve, invariances: Collection[str] = ()) -> QueryCurve:
    """Normalize a curve for a search.

    Args:
        curve: loss in nats at the points of the axis, finite.
        axis: sizes or steps, > 0 and strictly increasing.
        invariances: any of `INVARIANCES`; see the module docstring.

    Raises:
        ValueError: an unknown invariance, a curve that does not fit the axis, or a flat curve under
            `scale`.
    """
    unknown = sorted(set(invariances) - set(INVARIANCES))
    if unknown:
        raise ValueError(f"unknown invariance {unknown[0]!r}; choose from level, scale and shift")
    weights = log_axis_weights(axis)
    values = np.asarray(curve, dtype=np.float64)
    if values.shape != weights.shape or not np.isfinite(values).all():
        raise ValueError(f"the curve needs {len(axis)} finite values, one per point")
    is_scaled = "scale" in invariances
    is_levelled = is_scaled or "level" in invariances
    shifts = _shifts(len(axis)) if "shift" in invariances else np.zeros(1, dtype=np.int64)
    sources = np.clip(np.arange(len(axis)) - shifts[:, None], 0, len(axis) - 1)
    shifted = _normalized(values[sources], weights, is_levelled, is_scaled)
    usable = np.isfinite(shifted).all(axis=1)
    if not usable[0]:
        raise ValueError(
            f"the query curve is flat (standard deviation below {FLAT_STD_NATS} nats), so it has "
            "no shape to compare; remove the invariance scale"
        )
    return QueryCurve(values, shifted[usable], shifts[usable], weights, is_levelled, is_scaled)


def _shifts(n_points: int) -> Int[np.ndarray, " shifts"]:
    """Return all allowed shifts by preference: 0, -1, 1, -2, 2, …"""
    largest = min(MAX_SHIFT, (n_points - 1) // 2)
    pairs = [(-s, s) for s in range(1, largest + 1)]
    return np.array([0, *(s for pair in pairs for s in pair)], dtype=np.int64)


def _normalized(curves: Curves, weights: Curve, is_levelled: bool, is_scaled: bool) -> Curves:
    """Return curves centred and scaled as needed, in float64; NaN where they have no shape."""
    values = curves.astype(np.float64)
    if not is_levelled:
        return values
    # No BLAS: sums run point by point, in the same order for one row or a million.
    values -= _weighted_sum(values, weights)[:, None]
    if is_scaled:
        std = np.sqrt(_weighted_sum(values * values, weights))
        std[~(std >= FLAT_STD_NATS)] = np.nan
        values /= std[:, None]
    return values


def _weighted_sum(values: Curves, weights: Curve) -> _Distances:
    total = np.zeros(len(values))
    for point, weight in enumerate(weights):
        total += weight * values[:, point]
    return total


def shape_distances(
    curves: Curves, query: QueryCurve
) -> tuple[_Distances, Int[np.ndarray, " rows"]]:
    """Return the distance of every curve to the query, and the best shift in points.

    Distances are infinite where a curve is not comparable.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        normalized = _normalized(curves, query.weights, query.is_levelled, query.is_scaled)
        best = np.full(len(curves), np.inf)
        shift = np.zeros(len(curves), dtype=np.int64)
        for points, row in zip(query.shifts, query.shifted, strict=True):
            differences = normalized - row
            distance = _weighted_sum(differences * differences, query.weights)
            is_nearer = distance < best
            best[is_nearer] = distance[is_nearer]
            shift[is_nearer] = points
    return best, shift


def nearest_by_brute_force(
    curves: Curves,
    query: QueryCurve,
    limit: int,
    mask: Bool[np.ndarray, " rows"] | None = None,
    after: tuple[float, int] | None = None,
) -> NearestCurves:
    """Return the nearest curves, by a full scan; the reference for faster searches.

    Args:
        curves: losses in nats, any float dtype.
        query: curve to search for.
        limit: maximum number of results.
        mask: rows that may match; all by default.
        after: (distance, index) of the last result of the page before; results start behind it.
    """
    nearest = merge_nearest([], limit)
    for first in range(0, len(curves), BLOCK_ROWS):
        block = curves[first : first + BLOCK_ROWS]
        distance, shift = shape_distances(block, query)
        is_candidate = np.isfinite(distance)
        if mask is not None:
            is_candidate &= mask[first : first + len(block)]
        rows = np.flatnonzero(is_candidate)
        if after is not None:
            rows = rows[_follows(distance[rows], rows + first, after)]
        part = NearestCurves(rows + first, distance[rows], shift[rows])
        nearest = merge_nearest([nearest, part], limit)
    return nearest


def _follows(
    distances: _Distances, indices: Int[np.ndarray, " rows"], after: tuple[float, int]
) -> Bool[np.ndarray, " rows"]:
    is_tie = (distances == after[0]) & (indices > after[1])
    follows: Bool[np.ndarray, " rows"] = (distances > after[0]) | is_tie
    return follows


def merge_nearest(parts: list[NearestCurves], limit: int) -> NearestCurves:
    """Merge several results into one of at most `limit` curves."""
    empty = np.empty(0, dtype=np.int64)
    indices = np.concatenate([empty, *(part.indices for part in parts)])
    distances = np.concatenate([empty.astype(np.float64), *(part.distances for part in parts)])
    shifts = np.concatenate([empty, *(part.shifts for part in parts)])
    order = np.lexsort((indices, distances))[:limit]
    return NearestCurves(indices[order], distances[order], shifts[order])
