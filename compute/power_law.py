"""Power-law fits y = floor + amplitude * x^-exponent with bootstrap intervals.

The fit minimises the squared residuals of ln y. With floor 0 it is a straight line in log-log
space; a free floor needs a search. Losses may have any unit; x is model size, steps or data.
Source: arXiv:2303.13506, section 5 (floor 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import least_squares

MIN_POINTS = 3
START_FLOORS = 1 - np.geomspace(1e-4, 1, 25)  # initial values of a free floor, in units of min y

FloorRule = Literal["zero", "free"]
Resample = tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]
Values = Float[np.ndarray, " points"] | Int[np.ndarray, " points"]
Weights = Float[np.ndarray, " units"] | Int[np.ndarray, " units"]
Resamples = Float[np.ndarray, "resamples points"]
Seed = int | np.random.Generator
_Points = Float[np.ndarray, " points"]
_ByUnit = Float[np.ndarray, "units points"]
_Vector = Float[np.ndarray, " 3"]  # ln amplitude, exponent, floor


@dataclass(frozen=True)
class PowerLawFit:
    """A fitted power law y = floor + amplitude * x^-exponent.

    Attributes:
        exponent: positive where y falls with x.
        amplitude: y - floor at x = 1.
        floor: limit of y at large x; 0 unless it is free.
        r_squared: R² of ln y; NaN if y is constant.
        window: first and last x of the fit.
        n_points: number of points.
        interval: bootstrap percentile interval of the exponent; (NaN, NaN) without a bootstrap.
        level: nominal coverage of the interval, for example 0.95.
        n_bootstrap: resamples with a fit (at least 3 distinct points).
        seed: of the resamples; None if a generator was passed.
        amplitude_interval: interval of the amplitude.
        floor_interval: interval of the floor.
    """

    exponent: float
    amplitude: float
    floor: float
    r_squared: float
    window: tuple[float, float]
    n_points: int
    interval: tuple[float, float]
    level: float
    n_bootstrap: int
    seed: int | None
    amplitude_interval: tuple[float, float]
    floor_interval: tuple[float, float]


@dataclass(frozen=True)
class _Law:
    exponent: float
    amplitude: float
    floor: float
    r_squared: float


def fit_power_law(
    x: Values,
    y: Values,
    *,
    floor: FloorRule = "zero",
    y_by_unit: _ByUnit | None = None,
    weights: Weights | None = None,
    y_resamples: Resamples | None = None,
    n_bootstrap: int = 1000,
    level: float = 0.95,
    seed: Seed = 0,
) -> PowerLawFit:
    """Fit a power law by least squares in log-log space and bootstrap its exponent.

    The bootstrap resamples points, or units (such as documents) to refit their weighted means.

    Args:
        x: positive and distinct, in any order.
        y: positive.
        floor: "zero", or "free" to fit a floor >= 0.
        y_by_unit: y of each unit at each point, finite.
        weights: of units, such as their number of predictions; >= 0, default equal.
        y_resamples: precomputed resamples (`resampled_means`), used instead of units.
        n_bootstrap: number of resamples, 0 for none; ignored with `y_resamples`.
        level: nominal coverage of the interval.
        seed: seed or generator of the resamples.

    Raises:
        ValueError: too few points, values not positive, x not distinct, or arguments out of range.
    """
    xs, ys = _validate_points(x, y)
    if not 0 < level < 1 or n_bootstrap < 0:
        raise ValueError(f"level {level}, n_bootstrap {n_bootstrap}; want 0 < level < 1 and >= 0")
    if y_resamples is None and y_by_unit is not None:
        y_resamples = resampled_means(y_by_unit, weights, n_bootstrap=n_bootstrap, seed=seed)
    laws = resampled_laws(
        x, y, floor=floor, y_resamples=y_resamples, n_bootstrap=n_bootstrap, seed=seed
    )
    exponents, amplitudes, floors = (_interval(column, level) for column in laws.T)
    return PowerLawFit(
        **vars(_law(xs, ys, floor)),
        window=(float(xs.min()), float(xs.max())),
        n_points=len(xs),
        interval=exponents,
        level=level,
        n_bootstrap=len(laws),
        seed=seed if isinstance(seed, int) else None,
        amplitude_interval=amplitudes,
        floor_interval=floors,
    )


def resampled_means(
    y_by_unit: _ByUnit, weights: Weights | None = None, *, n_bootstrap: int = 1000, seed: Seed = 0
) -> Resamples:
    """Return weighted means over units drawn with replacement; skip means that are not > 0.

    Raises:
        ValueError: a value is not finite, or the weights do not match the units.
    """
    unit_weights = _validate_weights(y_by_unit, weights, y_by_unit.shape[1])
    means = list(_unit_means(y_by_unit, unit_weights, n_bootstrap, np.random.default_rng(seed)))
    return np.array(means).reshape(len(means), y_by_unit.shape[1])


def resampled_laws(
    x: Values,
    y: Values,
    *,
    floor: FloorRule = "zero",
    y_resamples: Resamples | None = None,
    n_bootstrap: int = 1000,
    seed: Seed = 0,
) -> Float[np.ndarray, "resamples 3"]:
    """Return (exponent, amplitude, floor) of a fit to every resample.

    Args:
        x: positive and distinct.
        y: positive.
        floor: see `fit_power_law`.
        y_resamples: resampled y; None to draw points with replacement.
        n_bootstrap: number of draws.
        seed: seed or generator of the draws.

    Raises:
        ValueError: points without a logarithm, or resamples of another axis.
    """
    xs, ys = _validate_points(x, y)
    if y_resamples is None:
        resamples = _point_resamples(xs, ys, n_bootstrap, np.random.default_rng(seed))
    elif y_resamples.ndim != 2 or y_resamples.shape[1] != len(xs):
        raise ValueError(f"y_resamples has shape {y_resamples.shape}, want (…, {len(xs)} points)")
    else:
        resamples = ((xs, row) for row in y_resamples)
    laws = [_law(*points, floor) for points in resamples]
    rows = [(law.exponent, law.amplitude, law.floor) for law in laws]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def choose_floor(x: Values, y: Values) -> FloorRule:
    """Return "free" if AICc prefers a floor, else "zero".

    AICc is Akaike's criterion with the small-sample correction, for normal residuals of ln y; with
    fewer than 6 points it never prefers a floor.

    Raises:
        ValueError: points without a logarithm.
    """
    xs, ys = _validate_points(x, y)
    scores = []
    rules: tuple[FloorRule, ...] = ("zero", "free")
    for rule, k in zip(rules, (3, 4), strict=True):  # parameters, variance of residuals included
        dof = len(xs) - k - 1
        law = _law(xs, ys, rule)
        residuals = ln_power_law(xs, law.exponent, law.amplitude, law.floor) - np.log(ys)
        variance = max(float(np.mean(residuals**2)), np.finfo(np.float64).eps ** 2)
        penalty = 2 * k * (1 + (k + 1) / dof) if dof > 0 else np.inf
        scores.append(len(xs) * np.log(variance) + penalty)
    return "free" if scores[1] < scores[0] else "zero"


def ln_power_law(x: Values, exponent: float, amplitude: float, floor: float) -> _Points:
    """Return ln(floor + amplitude·x^-exponent) at x > 0, without overflow of the power."""
    ln_x = np.log(np.asarray(x, dtype=np.float64))
    with np.errstate(divide="ignore"):  # ln(floor) = -inf for a floor of 0
        values: _Points = np.logaddexp(np.log(floor), np.log(amplitude) - exponent * ln_x)
    return values


def positive_points(x: Values, y: Values) -> tuple[_Points, _Points]:
    """Return x and y in float64.

    Raises:
        ValueError: x and y differ in shape, or a value has no logarithm.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ValueError(f"x {xs.shape} and y {ys.shape} differ; give one y for each x")
    for name, values in (("x", xs), ("y", ys)):
        unusable = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if unusable.size:
            index = int(unusable[0])
            raise ValueError(
                f"{name}[{index}] is {values[index]:g}, want finite and > 0 for a logarithm; "
                "drop that point"
            )
    return xs, ys


def _validate_points(x: Values, y: Values) -> tuple[_Points, _Points]:
    xs, ys = positive_points(x, y)
    if len(xs) < MIN_POINTS:
        raise ValueError(f"{len(xs)} points, want at least {MIN_POINTS}; widen the window")
    if len(np.unique(xs)) < len(xs):
        raise ValueError("x repeats a value; average the points with equal x")
    return xs, ys


def _validate_weights(
    y_by_unit: _ByUnit, weights: Weights | None, n_points: int
) -> Float[np.ndarray, " units"]:
    if y_by_unit.ndim != 2 or y_by_unit.shape[1] != n_points or not len(y_by_unit):
        raise ValueError(f"y_by_unit has shape {y_by_unit.shape}, want (units, {n_points} points)")
    if not np.isfinite(y_by_unit).all():
        raise ValueError("y_by_unit has a value that is not finite; drop that unit")
    unit_weights = (
        np.ones(len(y_by_unit)) if weights is None else np.asarray(weights, dtype=np.float64)
    )
    is_valid = np.isfinite(unit_weights) & (unit_weights >= 0)
    if unit_weights.shape != y_by_unit.shape[:1] or not is_valid.all():
        raise ValueError(f"weights {unit_weights.shape}; want one weight per unit, finite and >= 0")
    if not unit_weights.any():
        raise ValueError("weights are all 0; want a positive weight")
    return unit_weights


def _line(ln_x: _Points, ln_y: _Points) -> tuple[float, float, float]:
    """Return slope, intercept and R² of the least-squares line."""
    x, y = ln_x - ln_x.mean(), ln_y - ln_y.mean()
    slope = float(x @ y / (x @ x))
    varies = ln_y.max() > ln_y.min()
    r_squared = float(slope**2 * (x @ x) / (y @ y)) if varies else np.nan
    return slope, float(ln_y.mean() - slope * ln_x.mean()), min(r_squared, 1.0)


def _law(x: _Points, y: _Points, floor: FloorRule) -> _Law:
    ln_x, ln_y = np.log(x), np.log(y)
    slope, intercept, r_squared = _line(ln_x, ln_y)
    straight = _Law(-slope, float(np.exp(intercept)), 0.0, r_squared)
    if floor == "zero" or y.max() == y.min():
        return straight
    centre = float(ln_x.mean())
    parameters, squares = _free_floor(ln_x - centre, ln_y)
    spread = float(((ln_y - ln_y.mean()) ** 2).sum())
    if 1 - squares / spread <= r_squared:
        return straight
    ln_amplitude, exponent, limit = (float(value) for value in parameters)
    amplitude = float(np.exp(ln_amplitude + exponent * centre))
    return _Law(exponent, amplitude, limit, 1 - squares / spread)


def _free_floor(ln_x: _Points, ln_y: _Points) -> tuple[_Vector, float]:
    """Fit (ln amplitude, exponent, floor) for centred ln x; return them and the sum of squares.

    The start is the best of a grid of floors, each with the line through ln(y - floor).
    """
    y = np.exp(ln_y)

    def residuals(parameters: _Vector) -> _Points:
        ln_amplitude, exponent, floor = parameters
        differences: _Points = np.log(floor + np.exp(ln_amplitude - exponent * ln_x)) - ln_y
        return differences

    def jacobian(parameters: _Vector) -> Float[np.ndarray, "points 3"]:
        ln_amplitude, exponent, floor = parameters
        power = np.exp(ln_amplitude - exponent * ln_x)
        columns = np.stack([power, -power * ln_x, np.ones_like(power)], axis=1)
        columns /= (floor + power)[:, None]
        return columns

    starts = []
    for floor in y.min() * START_FLOORS:
        slope, intercept, _ = _line(ln_x, np.log(y - floor))
        starts.append(np.array([intercept, -slope, floor]))
    start = min(starts, key=lambda parameters: float((residuals(parameters) ** 2).sum()))
    bounds = ([-np.inf, -np.inf, 0], np.inf)
    solution = least_squares(
        residuals, start, jacobian, bounds, x_scale="jac", ftol=1e-12, xtol=1e-12, gtol=1e-12
    )
    return solution.x, float(2 * solution.cost)


def _point_resamples(
    x: _Points, y: _Points, n_bootstrap: int, generator: np.random.Generator
) -> Iterator[Resample]:
    """Yield points drawn with replacement; skip resamples of fewer than 3 distinct points."""
    for draw in generator.integers(len(x), size=(n_bootstrap, len(x))):
        if len(np.unique(draw)) >= MIN_POINTS:
            yield x[draw], y[draw]


def _unit_means(
    y_by_unit: _ByUnit,
    weights: Float[np.ndarray, " units"],
    n_bootstrap: int,
    generator: np.random.Generator,
) -> Iterator[_Points]:
    """Yield weighted means of units drawn with replacement; skip means that are not positive."""
    n_units = len(y_by_unit)
    for _ in range(n_bootstrap):
        counts = np.bincount(generator.integers(n_units, size=n_units), minlength=n_units)
        shares = counts * weights
        if shares.sum() > 0 and (mean := shares @ y_by_unit / shares.sum()).min() > 0:
            yield mean


def _interval(values: Float[np.ndarray, " resamples"], level: float) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
