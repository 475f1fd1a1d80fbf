"""Laws fitted to a scaling curve when it is looked at: power law and broken law."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from backend.read.values import finite_or_none
from backend.scaling.views import LawCurve, LawFit, LawParameter, PowerLaw

N_GRID = 60  # places where a law is drawn
LEVEL = 0.95
N_REFITS = 60  # of a broken law; each is a search
MIN_BROKEN_POINTS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeanCurve:
    """Means (nats) along an axis, which points a fit uses, and resampled means.

    `resamples` has one row a draw, None to draw points instead; `interval_of` names what was drawn.
    """

    x: Array
    y: Array
    used: NDArray[np.bool_]
    resamples: Array | None
    interval_of: str


def _parameter(name: str, value: float, interval: tuple[float, float]) -> LawParameter:
    # A floor that the search pushes to its bound ends at 1e-14 or so: that is 0.
    numbers = (0.0 if abs(one) < 1e-12 else one for one in (value, *interval))
    return LawParameter(name, *map(finite_or_none, numbers))


def _grid(x: Array) -> Array:
    return np.geomspace(x.min(), x.max(), N_GRID)


def _law_fit(
    curve: MeanCurve,
    ln_law: Callable[[Array], Array],
    low: Array,
    high: Array,
    **fields: object,
) -> LawFit:
    """Return the view of a law; `low` and `high` are its interval on the grid."""
    grid, used = _grid(curve.x), curve.used
    residuals = np.log(curve.y) - ln_law(curve.x)
    drawn = (grid, np.exp(ln_law(grid)), low, high)
    return LawFit(
        first=float(curve.x[used].min()),
        last=float(curve.x[used].max()),
        n_points=int(used.sum()),
        train_rmsle=float(np.sqrt(np.mean(residuals[used] ** 2))),
        residuals=tuple(residuals.tolist()),
        curve=LawCurve(*(tuple(values.tolist()) for values in drawn)),
        level=LEVEL,
        **fields,  # type: ignore[arg-type]
    )


def power_law_fit(curve: MeanCurve) -> tuple[PowerLaw, LawFit]:
    """Return the power law of a curve, short and long.

    Raises:
        ValueError: too few points, or a mean that is 0 or does not change.
    """
    from compute.power_law import fit_power_law, ln_power_law, resampled_laws

    x, y = curve.x[curve.used], curve.y[curve.used]
    drawn = None if curve.resamples is None else curve.resamples[:, curve.used]
    fit = fit_power_law(x, y, y_resamples=drawn, level=LEVEL, seed=0)
    if not np.isfinite([fit.r_squared, fit.amplitude, *fit.interval]).all():
        raise ValueError("the mean loss does not change along the axis")
    laws = resampled_laws(x, y, y_resamples=drawn, seed=0)
    ln_grid = np.log(_grid(curve.x))
    ln_curves = np.log(laws[:, 1:2]) - laws[:, :1] * ln_grid
    low, high = np.exp(np.quantile(ln_curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))
    short = PowerLaw(
        alpha=fit.exponent,
        amplitude=fit.amplitude,
        interval=fit.interval,
        level=fit.level,
        r_squared=fit.r_squared,
        first=fit.window[0],
        last=fit.window[1],
        n_points=fit.n_points,
        n_bootstrap=fit.n_bootstrap,
    )
    long = _law_fit(
        curve,
        lambda at: ln_power_law(at, fit.exponent, fit.amplitude, fit.floor),
        low,
        high,
        kind="power",
        formula="L = A·x^−α",
        parameters=(
            _parameter("α", fit.exponent, fit.interval),
            _parameter("A", fit.amplitude, fit.amplitude_interval),
        ),
        n_bootstrap=fit.n_bootstrap,
        interval_of=curve.interval_of,
        r_squared=finite_or_none(fit.r_squared),
    )
    return short, long


def broken_law_fit(curve: MeanCurve) -> LawFit:
    """Return the broken law of a curve, the number of breaks chosen on its last points.

    Raises:
        ValueError: too few points, or a mean that is 0.
    """
    n = int(curve.used.sum())
    if n < MIN_BROKEN_POINTS:
        raise ValueError(
            f"{n} points: three parameters, one point to spare and one held out to choose the "
            f"number of breaks want at least {MIN_BROKEN_POINTS}"
        )
    # The searches take seconds: a page and its figures ask for the same one.
    return _broken(tuple(curve.x.tolist()), tuple(curve.y.tolist()), tuple(curve.used.tolist()))


@lru_cache(maxsize=256)
def _broken(x: tuple[float, ...], y: tuple[float, ...], used: tuple[bool, ...]) -> LawFit:
    from compute import bnsl

    curve = MeanCurve(np.array(x), np.array(y), np.array(used), None, "residuals of ln L")
    inside = curve.x[curve.used], curve.y[curve.used]
    fit = bnsl.fit_broken_law(*inside)
    band = bnsl.bootstrap_broken_law(
        *inside, fit.law, _grid(curve.x), n_bootstrap=N_REFITS, level=LEVEL, seed=0
    )
    values = bnsl.named_parameters(fit.law)
    parameters = tuple(
        _parameter(name, value, band.parameters[name])
        for name, value in values.items()
        if name != "ln_b" or not math.isfinite(values["b"])
    )
    return _law_fit(
        curve,
        fit.law.ln_y,
        band.low,
        band.high,
        kind="bnsl",
        formula="L = a + b·x^−c₀ · Π (1 + (x/dᵢ)^(1/fᵢ))^(−cᵢ·fᵢ)",
        parameters=parameters,
        n_bootstrap=band.n_bootstrap,
        interval_of=curve.interval_of,
        r_squared=finite_or_none(fit.r_squared),
        choice=fit.choice,
        n_held_out=fit.n_held_out,
    )
