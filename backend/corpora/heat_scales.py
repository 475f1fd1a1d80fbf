"""Scales of heat measures: units, colour classes and histograms."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.corpora.views import Measure
from backend.errors import InvalidInputError

N_CLASSES = 64
N_BINS = 40


@dataclass(frozen=True)
class Scale:
    """The colour scale of a measure; `bounds` are the same for every document, model and step.

    `is_diverging`: zero is in the middle.
    """

    unit: str
    bounds: tuple[float, float]
    is_log: bool = False
    is_diverging: bool = False


MEASURES: dict[Measure, Scale] = {
    "loss": Scale("nats", (0.0, 10.0)),
    "p": Scale("probability", (0.0, 1.0)),
    "rank": Scale("rank", (1.0, 1000.0), is_log=True),
    "entropy": Scale("nats", (0.0, 8.0)),
    "difference": Scale("nats", (-5.0, 5.0), is_diverging=True),
    "p_token": Scale("probability", (0.0, 1.0)),
}


# Bounds of a log scale of probabilities.
LOG_PROBABILITIES = (1e-6, 1.0)


def scale_of(measure: Measure, *, is_log: bool = False) -> Scale:
    """Return the scale of a measure; `is_log` applies to probabilities only."""
    scale = MEASURES[measure]
    if is_log and scale.unit == "probability":
        return replace(scale, bounds=LOG_PROBABILITIES, is_log=True)
    return scale


def significant(value: float, *, is_whole: bool = False) -> float | int:
    """Return a value with four significant digits, or as an integer if `is_whole`."""
    return round(value) if is_whole else float(f"{value:.4g}")


def _shares(
    values: NDArray[np.float64], scale: tuple[float, float], is_log: bool
) -> NDArray[np.float64]:
    """Return values as shares of a scale, 0 to 1."""
    low, high = scale
    if is_log:
        values, low, high = np.log(np.maximum(values, 1e-12)), math.log(low), math.log(high)
    # If the ends are very close, a value far outside overflows to infinity and is clipped.
    with np.errstate(over="ignore"):
        return np.clip((values - low) / (high - low), 0, 1)


def heat_class(value: float, scale: tuple[float, float]) -> int:
    """Return the colour class of one value on a linear scale; values outside take the ends."""
    low, high = scale
    place = min(1.0, max(0.0, (value - low) / (high - low)))
    return min(N_CLASSES - 1, int(N_CLASSES * place))


def heat_classes(
    values: NDArray[Any], scale: tuple[float, float], *, is_log: bool = False
) -> list[int]:
    """Return colour classes 0 … 63 of values on a scale; values outside take the ends."""
    places = _shares(np.asarray(values, np.float64), scale, is_log)
    classes: list[int] = np.minimum(N_CLASSES - 1, (N_CLASSES * places).astype(int)).tolist()
    return classes


def histogram(values: NDArray[np.float64], scale: Scale) -> tuple[int, ...]:
    """Return counts in equal bins of a measure's bounds; values outside are in the end bins."""
    places = _shares(values, scale.bounds, scale.is_log)
    counts: NDArray[Any] = np.bincount(
        np.minimum(N_BINS - 1, (N_BINS * places).astype(int)), minlength=N_BINS
    )
    return tuple(counts.tolist())


def scale_ends(
    scale: Scale,
    values: NDArray[np.float64],
    low: float | None,
    high: float | None,
    *,
    is_locked: bool,
) -> tuple[float, float]:
    """Return the ends of the colour scale: `low` and `high` where they are given.

    The defaults are the bounds of the measure, or the range of `values` if not `is_locked`.

    Raises:
        InvalidInputError: the ends are not in order, or not positive on a log scale.
    """
    default_low, default_high = scale.bounds
    if not is_locked and len(values):
        default_low, default_high = _fitted_range(values, scale)
    ends = (default_low if low is None else low, default_high if high is None else high)
    if not ends[0] < ends[1]:
        name = "lo" if low is not None else "hi"
        raise InvalidInputError(
            f"the ends of the scale are {ends[0]:g} and {ends[1]:g}", "Choose lo below hi", name
        )
    if scale.is_log and ends[0] <= 0:
        raise InvalidInputError(f"lo is {ends[0]:g} on a log scale", "Choose lo above 0", "lo")
    return ends


def _fitted_range(values: NDArray[np.float64], scale: Scale) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if scale.is_diverging:
        bound = max(abs(low), abs(high), 0.01)
        return -bound, bound
    return (low, high) if high > low else (low, low * 2 if scale.is_log else low + 1)
