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
    """How a measure's values become colours.

    Attributes:
        unit: of the values.
        bounds: what the colours span, the same for every document, model and step.
        is_log: colours are even in the logarithm.
        is_diverging: zero is in the middle, and the sign matters.
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


# Where probabilities are on a log scale it spans these; smaller ones take its end.
LOG_PROBABILITIES = (1e-6, 1.0)


def scale_of(measure: Measure, *, is_log: bool = False) -> Scale:
    """Return the scale of a measure, of a probability even in its logarithm if asked for."""
    scale = MEASURES[measure]
    if is_log and scale.unit == "probability":
        return replace(scale, bounds=LOG_PROBABILITIES, is_log=True)
    return scale


def significant(value: float, *, is_whole: bool = False) -> float | int:
    """Return a value as it is given out: four significant digits, a rank as an integer."""
    return round(value) if is_whole else float(f"{value:.4g}")


def _places(
    values: NDArray[np.float64], scale: tuple[float, float], is_log: bool
) -> NDArray[np.float64]:
    """Return where values lie between the ends of a scale, 0 to 1."""
    low, high = scale
    if is_log:
        values, low, high = np.log(np.maximum(values, 1e-12)), math.log(low), math.log(high)
    # Ends may be so close that a value lies infinitely far outside: it takes an end all the same.
    with np.errstate(over="ignore"):
        return np.clip((values - low) / (high - low), 0, 1)


def heat_class(value: float, scale: tuple[float, float]) -> int:
    """Return the colour class of one value on an even scale; values beyond it take its ends."""
    low, high = scale
    place = min(1.0, max(0.0, (value - low) / (high - low)))
    return min(N_CLASSES - 1, int(N_CLASSES * place))


def heat_classes(
    values: NDArray[Any], scale: tuple[float, float], *, is_log: bool = False
) -> list[int]:
    """Return colour classes 0 … 63 of values on a scale; values beyond it take its ends."""
    places = _places(np.asarray(values, np.float64), scale, is_log)
    classes: list[int] = np.minimum(N_CLASSES - 1, (N_CLASSES * places).astype(int)).tolist()
    return classes


def histogram(values: NDArray[np.float64], scale: Scale) -> tuple[int, ...]:
    """Return counts in equal parts of a measure's bounds; the ends are open."""
    places = _places(values, scale.bounds, scale.is_log)
    counts: NDArray[Any] = np.bincount(
        np.minimum(N_BINS - 1, (N_BINS * places).astype(int)), minlength=N_BINS
    )
    return tuple(counts.tolist())


def chosen_scale(
    scale: Scale,
    values: NDArray[np.float64],
    low: float | None,
    high: float | None,
    *,
    is_locked: bool,
) -> tuple[float, float]:
    """Return the ends of the colours.

    Args:
        scale: of the measure.
        values: of the document, for a scale that is not locked.
        low: lower end asked for; None takes the measure's, or the least value.
        high: upper end asked for; likewise.
        is_locked: keep the scale whatever the values are.

    Raises:
        InvalidInputError: the ends are not in order, or cannot be on the scale.
    """
    least, most = scale.bounds
    if not is_locked and len(values):
        least, most = _own_range(values, scale)
    ends = (least if low is None else low, most if high is None else high)
    if not ends[0] < ends[1]:
        name = "lo" if low is not None else "hi"
        raise InvalidInputError(
            f"the scale would go from {ends[0]:g} to {ends[1]:g}", "Choose lo below hi", name
        )
    if scale.is_log and ends[0] <= 0:
        raise InvalidInputError(
            f"lo {ends[0]:g} cannot be on a log scale", "Choose lo above 0", "lo"
        )
    return ends


def _own_range(values: NDArray[np.float64], scale: Scale) -> tuple[float, float]:
    least, most = float(values.min()), float(values.max())
    if scale.is_diverging:
        most = max(abs(least), abs(most), 0.01)
        return -most, most
    return (least, most) if most > least else (least, least * 2 if scale.is_log else least + 1)
