"""Features and classes of scaling curves: monogenic, polygenic, learned, inverse, u-shaped, …

A curve is one prediction's loss (nats) against model size or training step, linear between points
on the logarithm of that axis; points added on that line change no drop, sharpness, emergence or
class. Published rules: arXiv:2303.13506, section 5 (monogenic, polygenic), and its code (banded).
Rows are predictions, columns are points of the axis in ascending order.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Int16, UInt8

from compute.row_statistics import accumulate_rows, average_ranks

CURVE_CLASSES: tuple[str, ...] = (
    "learned",
    "flat-high",
    "monogenic",
    "polygenic",
    "inverse",
    "u-shaped",
    "hump",
    "irregular",
)
UNDEFINED_CLASS = 255

MIN_POINTS = 3
BLOCK_PREDICTIONS = 16_384  # with seven points, intermediate columns stay in the L2 cache
BLOCK_VALUES = 1 << 20  # losses per block: bounds memory when the axis is long
# Nats: a drop of exactly 2, or 0, must count as one despite the rounding of logarithms.
ROUNDING = 1e-9
_Curves = Float[np.ndarray, "predictions points"]
_Column = Float[np.ndarray, " predictions"]
_Indexes = Int[np.ndarray, " predictions"]


def class_name(code: int) -> str:
    """Return the name of a stored class code; "undefined" for `UNDEFINED_CLASS`."""
    return CURVE_CLASSES[code] if code < len(CURVE_CLASSES) else "undefined"


@dataclass(frozen=True)
class CurveThresholds:
    """Thresholds of the rules; losses and drops in nats.

    Attributes:
        learned: a loss below it counts as learned.
        flat_high_min: flat-high curves stay above this loss.
        flat_high_range: range (max - min) of flat-high curves is below it.
        monogenic_drop: least total drop of a monogenic curve.
        polygenic_drop: least total drop of a polygenic curve.
        sharpness: least share of the drop inside the best window of a monogenic curve; polygenic
            curves have less.
        window_decades: width of that window, in factors of ten of the axis.
        inverse_rise: least rise from the first to the last loss of an inverse curve.
        interior_excess: least distance of an interior extreme beyond both ends, u-shaped and hump.
        never_fell_drop: emergence is censored if the drop is smaller and ends above `learned`.
        published_high: published monogenic rule, loss before the fall.
        published_low: published monogenic rule, loss after the fall.
        published_band: width of a band, banded rule.
        published_band_gap: least distance of the bands' lower edges, banded rule.
        published_slope: published polygenic rule, largest slope on the ln axis.
        published_r_squared: published polygenic rule, least R².
    """

    learned: float = 0.3
    flat_high_min: float = 3.0
    flat_high_range: float = 1.0
    monogenic_drop: float = 2.0
    polygenic_drop: float = 1.0
    sharpness: float = 0.7
    window_decades: float = 0.5
    inverse_rise: float = 1.0
    interior_excess: float = 1.0
    never_fell_drop: float = 1.0
    published_high: float = 5.0
    published_low: float = 0.3
    published_band: float = 0.7
    published_band_gap: float = 2.0
    published_slope: float = -0.3
    published_r_squared: float = 0.98


DEFAULT_THRESHOLDS = CurveThresholds()


@dataclass(frozen=True)
class CurveScores:
    """Features of curves, one entry per prediction.

    "The fit" is the non-increasing least-squares fit on the log axis, see `compute.isotonic`. A
    prediction with a loss that is not finite has NaN in every float, -1 in the published indices,
    0 in `emergence_censored`, False in `published_polygenic` and class 255.

    Attributes:
        total_drop: first minus last value of the fit, nats, >= 0.
        sharpness: largest share of the drop inside one window of `window_decades`, in [0, 1]; 1 if
            the axis is not longer than the window; NaN where the drop is 0.
        emergence: axis value at which the fit has completed half of the drop; NaN where censored.
        emergence_censored: -1 where the fit starts below `learned` (fell before the first point);
            else +1 where the drop is below `never_fell_drop` and the fit ends at or above `learned`
            (never fell); else 0.
        final_loss: last loss as measured, nats.
        monotonicity: Spearman correlation of loss with axis, ties at average rank; 0 if constant.
        largest_rise: largest later loss minus earlier loss, nats; 0 if the curve never rises.
        slope: least-squares slope of the loss on ln axis, nats.
        r_squared: R² of that line; NaN if the curve is constant.
        published_monogenic: the index j >= 1 with every loss before j above `published_high` and
            every loss from j on below `published_low`; -1 if none.
        published_banded: the index j >= 1 such that the losses before j fit into one band and those
            from j on into another; bands have width `published_band` and lower edges >= 0 that are
            more than `published_band_gap` apart; -1 if none.
        published_polygenic: slope below `published_slope` and R² above `published_r_squared`.
        curve_class: index into `CURVE_CLASSES`; 255 where undefined.
    """

    total_drop: _Column
    sharpness: _Column
    emergence: _Column
    emergence_censored: Int8[np.ndarray, " predictions"]
    final_loss: _Column
    monotonicity: _Column
    largest_rise: _Column
    slope: _Column
    r_squared: _Column
    published_monogenic: Int16[np.ndarray, " predictions"]
    published_banded: Int16[np.ndarray, " predictions"]
    published_polygenic: Bool[np.ndarray, " predictions"]
    curve_class: UInt8[np.ndarray, " predictions"]


def curve_scores(
    losses: _Curves,
    axis: Float[np.ndarray, " points"] | Int[np.ndarray, " points"],
    thresholds: CurveThresholds = DEFAULT_THRESHOLDS,
) -> CurveScores:
    """Compute features and classes in float64, in blocks of bounded memory.

    The first rule that holds gives the class (extremes, ends and ranges are of the measured losses,
    drop and sharpness of the fit): learned, max < `learned`; flat-high, min > `flat_high_min` and
    range < `flat_high_range`; monogenic, drop >= `monogenic_drop` and sharpness >= `sharpness`;
    polygenic, drop >= `polygenic_drop` and sharpness below; inverse, last - first >=
    `inverse_rise`; u-shaped or hump, an interior extreme at least `interior_excess` beyond both
    ends, the larger excess deciding; else irregular.

    Raises:
        ValueError: the shapes disagree, there are fewer than 3 points, or the axis is not positive
            and strictly increasing.
    """
    points = _validate_axis(losses, axis)
    rows = max(1, min(BLOCK_PREDICTIONS, BLOCK_VALUES // len(points)))
    blocks = [
        _block_scores(losses[start : start + rows].astype(np.float64), points, thresholds)
        for start in range(0, max(len(losses), 1), rows)
    ]
    return CurveScores(
        **{
            field.name: np.concatenate([getattr(block, field.name) for block in blocks])
            for field in fields(CurveScores)
        }
    )


def _validate_axis(
    losses: _Curves, axis: Float[np.ndarray, " ..."] | Int[np.ndarray, " ..."]
) -> Float[np.ndarray, " points"]:
    """Return the axis in float64; raise a ValueError that names an invalid value."""
    values = np.asarray(axis, dtype=np.float64)
    if losses.ndim != 2 or values.shape != losses.shape[1:]:
        raise ValueError(
            f"losses {losses.shape} do not fit axis {values.shape}; "
            "give one row per prediction and one column per point of the axis"
        )
    if len(values) < MIN_POINTS:
        raise ValueError(f"{len(values)} points, want at least {MIN_POINTS}; add models or steps")
    unusable = ~(np.isfinite(values) & (values > 0))
    if unusable.any():
        index = int(np.flatnonzero(unusable)[0])
        raise ValueError(
            f"axis[{index}] is {values[index]:g}, which has no logarithm; "
            "drop that point (step 0 too)"
        )
    falls = np.flatnonzero(np.diff(values) <= 0)
    if falls.size:
        index = int(falls[0]) + 1
        raise ValueError(
            f"axis[{index}] is {values[index]:g} after {values[index - 1]:g}; "
            "sort the points and drop repeated values"
        )
    return values


def _block_scores(
    losses: _Curves, axis: Float[np.ndarray, " points"], limits: CurveThresholds
) -> CurveScores:
    """Score one block; rows that are not finite are computed as zeros, then masked."""
    from compute.isotonic import decreasing_features  # imports numba, slow to load

    defined = np.isfinite(losses).all(axis=1)
    losses[~defined] = 0
    slope, r_squared = _line(losses, np.log(axis))
    first, last, steepest, half = decreasing_features(losses, np.log10(axis), limits.window_decades)
    # Few points, many predictions: column-wise loops need contiguous columns.
    losses = np.asfortranarray(losses)
    drop = np.where(first - last > ROUNDING, first - last, 0)
    sharpness = np.full(len(losses), np.nan)
    np.divide(steepest, drop, out=sharpness, where=drop > 0)
    np.clip(sharpness, 0, 1, out=sharpness)
    never_fell = (drop < limits.never_fell_drop - ROUNDING) & (last >= limits.learned)
    censored = np.where(first < limits.learned, -1, never_fell).astype(np.int8)
    emergence = np.where(censored == 0, 10**half, np.nan)
    classes = _classes(losses, drop, sharpness, limits)
    return CurveScores(
        total_drop=np.where(defined, drop, np.nan),
        sharpness=np.where(defined, sharpness, np.nan),
        emergence=np.where(defined, emergence, np.nan),
        emergence_censored=np.where(defined, censored, 0).astype(np.int8),
        final_loss=np.where(defined, losses[:, -1], np.nan),
        monotonicity=np.where(defined, _spearman(losses), np.nan),
        largest_rise=np.where(defined, _largest_rise(losses), np.nan),
        slope=np.where(defined, slope, np.nan),
        r_squared=np.where(defined, r_squared, np.nan),
        published_monogenic=np.where(defined, _fall_index(losses, limits), -1).astype(np.int16),
        published_banded=np.where(defined, _band_index(losses, limits), -1).astype(np.int16),
        published_polygenic=defined
        & (slope < limits.published_slope)
        & (r_squared > limits.published_r_squared),
        curve_class=np.where(defined, classes, UNDEFINED_CLASS).astype(np.uint8),
    )


def _line(losses: _Curves, ln_axis: Float[np.ndarray, " points"]) -> tuple[_Column, _Column]:
    """Return the least-squares slope on the ln axis, and R²."""
    x = ln_axis - ln_axis.mean()
    y = losses - losses.mean(axis=1, keepdims=True)
    slope = y @ x / (x @ x)
    spread = np.einsum("ij,ij->i", y, y)
    r_squared = np.full(len(losses), np.nan)
    varies = losses.max(axis=1) > losses.min(axis=1)
    np.divide(slope**2 * (x @ x), spread, out=r_squared, where=varies & (spread > 0))
    return slope, np.minimum(r_squared, 1)


def _spearman(losses: _Curves) -> _Column:
    """Return the Spearman correlation of each row with the axis; 0 for a constant row."""
    n_points = losses.shape[1]
    position = np.arange(n_points)
    x = position - (n_points - 1) / 2
    y = average_ranks(losses) - (n_points - 1) / 2
    spread = np.einsum("ij,ij->i", y, y)
    result = np.zeros(len(losses))
    np.divide(y @ x, np.sqrt(spread * (x @ x)), out=result, where=spread > 0)
    return result


def _largest_rise(losses: _Curves) -> _Column:
    """Return the largest rise above the least earlier loss; 0 without a rise."""
    rises = losses - accumulate_rows(np.minimum, losses)
    largest: _Column = rises.max(axis=1)
    return largest


def _fall_index(losses: _Curves, limits: CurveThresholds) -> _Indexes:
    """Return the j of the published monogenic rule: losses[:j] high, losses[j:] low; else -1."""
    min_before, max_after = _plateau_edges(losses)[1:3]
    return _split_index((min_before > limits.published_high) & (max_after < limits.published_low))


def _band_index(losses: _Curves, limits: CurveThresholds) -> _Indexes:
    """Return the j of the banded rule; else -1.

    Lower edges are furthest apart if the upper band starts at the least loss before j and the lower
    band ends at the largest loss from j on; no other choice needs a check.
    """
    max_before, min_before, max_after, min_after = _plateau_edges(losses)
    lower_edge = np.maximum(max_after - limits.published_band, 0)
    return _split_index(
        (max_before - min_before <= limits.published_band)
        & (max_after - min_after <= limits.published_band)
        & (min_before - lower_edge > limits.published_band_gap)
    )


def _plateau_edges(losses: _Curves) -> tuple[Float[np.ndarray, "predictions splits"], ...]:
    """Return max and min of [:, :j], then max and min of [:, j:], for j = 1, 2, …"""
    backwards = losses[:, ::-1]
    return (
        accumulate_rows(np.maximum, losses)[:, :-1],
        accumulate_rows(np.minimum, losses)[:, :-1],
        accumulate_rows(np.maximum, backwards)[:, ::-1][:, 1:],
        accumulate_rows(np.minimum, backwards)[:, ::-1][:, 1:],
    )


def _split_index(holds: Bool[np.ndarray, "predictions splits"]) -> _Indexes:
    """Return 1 + the number of the true column, else -1; at most one split of a curve is true."""
    index = np.full(len(holds), -1)
    for j, column in enumerate(holds.T, 1):
        index[column] = j
    return index


def _classes(
    losses: _Curves, drop: _Column, sharpness: _Column, limits: CurveThresholds
) -> _Indexes:
    """Return the index of the first rule that holds, in the order of `CURVE_CLASSES`."""
    highest, lowest = losses.max(axis=1), losses.min(axis=1)
    first, last = losses[:, 0], losses[:, -1]
    sag = np.minimum(first, last) - lowest
    bulge = highest - np.maximum(first, last)
    excess = limits.interior_excess
    is_sharp = sharpness >= limits.sharpness - ROUNDING
    rules = [
        highest < limits.learned,
        (lowest > limits.flat_high_min) & (highest - lowest < limits.flat_high_range),
        (drop >= limits.monogenic_drop - ROUNDING) & is_sharp,
        (drop >= limits.polygenic_drop - ROUNDING) & ~is_sharp & (drop > 0),
        last - first >= limits.inverse_rise,
        (sag >= excess) & (sag >= bulge),
        bulge >= excess,
    ]
    return np.select(rules, list(range(len(rules))), default=len(rules))
