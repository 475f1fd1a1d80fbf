"""Laws fitted to a scaling curve on request: power law and broken power law."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from backend.read.values import finite_or_none
from backend.scaling.views import LawCurve, LawFit, LawParameter, PowerLaw

N_GRID = 60  # points of a drawn law
LEVEL = 0.95
N_REFITS = 60  # bootstrap fits of a broken law
MIN_BROKEN_POINTS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MeanCurve:
    """Means (nats) along an axis, a mask of the points in the fit, and resampled means.

    `resamples` has one row a resample, None to resample points; `interval_of` names the unit of
    resampling.
    """

    x: Array
    y: Array
    is_used: NDArray[np.bool_]
    resamples: Array | None
    interval_of: str


def _parameter(name: str, value: float, interval: tuple[float, float]) -> LawParameter:
    # A floor that the search pushes to its bound ends near 1e-14: report 0.
    numbers = (0.0 if abs(number) < 1e-12 else number for number in (value, *interval))
    return LawParameter(name, *map(finite_or_none, numbers))


def _grid(x: Array) -> Array:
    return np.geomspace(x.min(), x.max(), N_GRID)


def _law_fit(
    curve: MeanCurve, ln_law: Callable[[Array], Array], low: Array, high: Array, **fields: object
) -> LawFit:
    """Return the view of a law; `low` and `high` are its interval on the grid."""
    grid, is_used = _grid(curve.x), curve.is_used
    residuals = np.log(curve.y) - ln_law(curve.x)
    columns = (grid, np.exp(ln_law(grid)), low, high)
    return LawFit(
        first=float(curve.x[is_used].min()),
        last=float(curve.x[is_used].max()),
        n_points=int(is_used.sum()),
        train_rmsle=float(np.sqrt(np.mean(residuals[is_used] ** 2))),
        residuals=tuple(residuals.tolist()),
        curve=LawCurve(*(tuple(values.tolist()) for values in columns)),
        level=LEVEL,
        **fields,  # type: ignore[arg-type]
    )


def power_law_fit(curve: MeanCurve) -> tuple[PowerLaw, LawFit]:
    """Return the power law of a curve, as parameters and as a law with its curve.

    Raises:
        ValueError: too few points, or a mean that is 0 or does not change.
    """
    from compute.power_law import fit_power_law, ln_power_law, resampled_laws

    x, y = curve.x[curve.is_used], curve.y[curve.is_used]
    resamples = None if curve.resamples is None else curve.resamples[:, curve.is_used]
    fit = fit_power_law(x, y, y_resamples=resamples, level=LEVEL, seed=0)
    if not np.isfinite([fit.r_squared, fit.amplitude, *fit.interval]).all():
        raise ValueError("the mean loss does not change along the axis")
    laws = resampled_laws(x, y, y_resamples=resamples, seed=0)
    ln_grid = np.log(_grid(curve.x))
    ln_curves = np.log(laws[:, 1:2]) - laws[:, :1] * ln_grid
    low, high = np.exp(np.quantile(ln_curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))
    power_law = PowerLaw(
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
    law = _law_fit(
        curve,
        lambda x: ln_power_law(x, fit.exponent, fit.amplitude, fit.floor),
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
    return power_law, law


def broken_law_fit(curve: MeanCurve) -> LawFit:
    """Return the broken law of a curve, with the number of breaks chosen on its last points.

    Raises:
        ValueError: too few points, or a mean that is 0.
    """
    n = int(curve.is_used.sum())
    if n < MIN_BROKEN_POINTS:
        raise ValueError(
            f"{n} points: a broken law needs at least {MIN_BROKEN_POINTS} (three parameters, one "
            "spare point and one held out to choose the number of breaks)"
        )
    # Cached: the search takes seconds, and a page and its figures request the same fit.
    return _broken_law(
        tuple(curve.x.tolist()), tuple(curve.y.tolist()), tuple(curve.is_used.tolist())
    )


@lru_cache(maxsize=256)
def _broken_law(x: tuple[float, ...], y: tuple[float, ...], is_used: tuple[bool, ...]) -> LawFit:
    from compute import bnsl

    curve = MeanCurve(np.array(x), np.array(y), np.array(is_used), None, "residuals of ln L")
    inside = curve.x[curve.is_used], curve.y[curve.is_used]
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
