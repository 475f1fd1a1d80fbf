"""Query curves for a search: sketches of a few knots, and presets, on any axis of sizes or steps.

A curve is loss in nats against the logarithm of an axis. Presets run between a fixed high and low
level, so that a search without invariances is predictable.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

HIGH_NATS = 6.0
LOW_NATS = 0.1
# Width of an early or late fall, as a share of the log axis.
FALL_SHARE = 0.3
MIN_KNOTS = 2
MAX_KNOTS = 16
Curve = Float[np.ndarray, " points"]
PRESETS: tuple[str, ...] = ("step", "smooth", "inverse", "u", "hump", "late", "early", "flat")
PRESET_FORMULAS = {
    "step": "6 nats at every point before point j (counted from 1; default: the middle point), 0.1 "
    "nats from j on",
    "smooth": "linear on the log axis from 6 nats at the first point to 0.1 at the last",
    "inverse": "linear on the log axis from 0.1 nats at the first point to 6 at the last",
    "u": "6 nats at both ends, 0.1 in the middle of the log axis, linear between",
    "hump": "0.1 nats at both ends, 6 in the middle of the log axis, linear between",
    "late": "6 nats over the first 70 % of the log axis, then linear to 0.1 at its end",
    "early": "linear from 6 nats to 0.1 over the first 30 % of the log axis, then 0.1",
    "flat": "3.05 nats everywhere",
}


def sketched_curve(knots: Sequence[tuple[float, float]], axis: Curve) -> Curve:
    """Return a sketched curve at the points of an axis.

    The curve is linear between knots on the log axis, and constant beyond the outer ones.

    Args:
        knots: 2 to 16 pairs (axis value > 0, loss in nats) in any order, axis values all different.
        axis: sizes or steps, > 0.

    Raises:
        ValueError: too few or too many knots, or knots with no position on a log axis.
    """
    if not MIN_KNOTS <= len(knots) <= MAX_KNOTS:
        raise ValueError(f"{len(knots)} knots; draw {MIN_KNOTS} to {MAX_KNOTS}")
    ordered = np.array(sorted(knots), dtype=np.float64)
    if not np.isfinite(ordered).all() or (ordered[:, 0] <= 0).any():
        raise ValueError("a knot is not finite or has an axis value <= 0; move or drop it")
    if (np.diff(ordered[:, 0]) <= 0).any():
        raise ValueError("two knots have the same axis value; drop one")
    curve: Curve = np.interp(np.log(axis), np.log(ordered[:, 0]), ordered[:, 1])
    return curve


def preset_curve(name: str, axis: Curve, at: int | None = None) -> Curve:
    """Return a preset curve at the points of an axis, between `HIGH_NATS` and `LOW_NATS`.

    Args:
        name: one of `PRESETS`; `PRESET_FORMULAS` defines each.
        axis: sizes or steps, > 0 and increasing, at least 2.
        at: first low point of "step", from 1 (low everywhere); default the middle point.

    Raises:
        ValueError: an unknown name, or a step outside the axis.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    n_points = len(axis)
    position = np.log(axis / axis[0]) / np.log(axis[-1] / axis[0])
    if name == "step":
        first_low = n_points // 2 + 1 if at is None else at
        if not 1 <= first_low <= n_points:
            raise ValueError(f"the axis has no point {first_low}; choose 1 to {n_points}")
        height = (np.arange(n_points) < first_low - 1).astype(np.float64)
    else:
        height = {
            "smooth": 1 - position,
            "inverse": position,
            "u": np.abs(2 * position - 1),
            "hump": 1 - np.abs(2 * position - 1),
            "late": np.minimum((1 - position) / FALL_SHARE, 1),
            "early": np.maximum(1 - position / FALL_SHARE, 0),
            "flat": np.full(n_points, 0.5),
        }[name]
    curve: Curve = LOW_NATS + (HIGH_NATS - LOW_NATS) * height
    return curve
