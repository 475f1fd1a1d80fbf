"""Isotonic (non-increasing) least-squares fits of curves, and features of the fits; compiled.

A curve is the piecewise linear function through its points; its fit is the projection onto the
non-increasing functions under the integral of squares along the axis. Isotonic regression of the
points alone, with equal weights, changes when points are added on the lines between points; this
fit does not, so its features do not depend on the sampling of the axis.

The fit is the derivative of the least concave majorant of the curve's integral (the continuous form
of pool adjacent violators: Barlow et al., Statistical Inference under Order Restrictions, 1972,
chapter 1). It is continuous and consists of constant segments and falling segments of the curve.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float

from compute.jit import jit

_Feature = Float[np.ndarray, " predictions"]


@jit
@no_type_check
def _left_integral(level, below, fall):
    """Integral of curve minus level over the part below level of a segment that falls to `below`.

    `fall` is the segment's width over twice its height, for the area of a triangle.
    """
    return -fall * (level - below) ** 2 if level > below else 0.0


@jit
@no_type_check
def _right_integral(level, above, below, width):
    """Integral of curve minus level over the part above level of a segment above … below."""
    if level >= above:
        return 0.0
    if level >= below:
        return (above - level) ** 2 * width / (2.0 * (above - below))
    return ((above + below) / 2.0 - level) * width


@jit
@no_type_check
def _zero_level(total, width, low, fall, above, below, right):
    """Return the level at which the integral of curve minus level, a parabola, is zero."""
    mean = total / width
    if fall == 0.0 and right == 0.0:
        return mean
    rise = fall if right > 0.0 or mean > low else 0.0
    drop = right / (2.0 * (above - below)) if right > 0.0 else 0.0
    under = mean - low if rise > 0.0 else 0.0
    over = above - mean if right > 0.0 else 0.0
    a = drop - rise
    b = width + 2.0 * rise * under + 2.0 * drop * over
    c = drop * over * over - rise * under * under
    return mean + 2.0 * c / (b + math.sqrt(max(b * b - 4.0 * a * c, 0.0)))


@jit
@no_type_check
def _absorb_neighbours(highs, lows, widths, n, total, width, above, below, right):
    """Absorb every neighbouring segment that lies wholly beyond the level, on either side.

    Returns the new (n, total, width, right) of `_pool`, and of the last segment on the stack its
    lower end and its width over twice its height.
    """
    while True:
        low, fall = math.inf, 0.0
        if n > 0:
            # Does the whole left segment lie below the level?
            high, low = highs[n - 1], lows[n - 1]
            fall = widths[n - 1] / (2.0 * (high - low)) if high > low else 0.0
            over = total - high * width + _left_integral(high, low, fall)
            if right > 0.0:
                over += _right_integral(high, above, below, right)
            if over > 0.0:
                total += (high + low) / 2.0 * widths[n - 1]
                width += widths[n - 1]
                n -= 1
                continue
        if right > 0.0:
            # Does the whole right segment lie above the level?
            over = total - below * width + _left_integral(below, low, fall)
            over += _right_integral(below, above, below, right)
            if over < 0.0:
                total += (above + below) / 2.0 * right
                width += right
                right = 0.0
                continue
        return n, total, width, right, low, fall


@jit
@no_type_check
def _pool(highs, lows, widths, n, total, width, above, below, right):
    """Push a constant segment, grown until the fit falls on both of its sides.

    `total` and `width` are its integral and length so far. The segment to its right falls from
    `above` to `below` over the width `right` (0 if there is none); a part of it may be absorbed,
    and the rest is pushed too. Returns the new height of the stack.
    """
    n, total, width, right, low, fall = _absorb_neighbours(
        highs, lows, widths, n, total, width, above, below, right
    )
    level = _zero_level(total, width, low, fall, above, below, right)
    if n > 0 and level > lows[n - 1] and highs[n - 1] > lows[n - 1]:
        part = widths[n - 1] * (level - lows[n - 1]) / (highs[n - 1] - lows[n - 1])
        part = min(part, widths[n - 1])
        widths[n - 1] -= part
        width += part
        lows[n - 1] = min(level, highs[n - 1])
    if right > 0.0:
        part = min(right * (above - level) / (above - below), right)
        width += part
        right -= part
    highs[n] = lows[n] = level
    widths[n] = width
    n += 1
    if right > 0.0 and level > below:
        highs[n], lows[n], widths[n] = level, below, right
        n += 1
    return n


@jit
@no_type_check
def _fit_segments(curve, positions, highs, lows, widths):
    """Write the segments of a curve's fit, left to right; return their number."""
    n = 0
    for j in range(len(curve) - 1):
        above, below = curve[j], curve[j + 1]
        width = positions[j + 1] - positions[j]
        if above <= below:
            n = _pool(highs, lows, widths, n, (above + below) / 2 * width, width, 0.0, 0.0, 0.0)
        elif n > 0 and lows[n - 1] < above:
            # Only a constant segment can end below the curve.
            n -= 1
            total = highs[n] * widths[n]
            n = _pool(highs, lows, widths, n, total, widths[n], above, below, width)
        else:
            highs[n], lows[n], widths[n] = above, below, width
            n += 1
    return n


@jit
@no_type_check
def _steepest_fall(highs, lows, widths, n, window):
    """Return the largest fall of the fit inside one window.

    The fall is piecewise linear in the window's position, with kinks only where an end of the
    window meets an end of a segment: the loop tries windows that start at one from left to right,
    then windows that end at one from right to left.
    """
    best = 0.0
    for direction in range(2):
        last = 0  # the segment that contains the window's end
        offset = 0.0  # from the window's start to the start of that segment
        for k in range(n):
            first = k if direction == 0 else n - 1 - k
            if last < k:
                last, offset = k, 0.0
            while True:
                at = last if direction == 0 else n - 1 - last
                if last == n - 1 or offset + widths[at] >= window:
                    break
                offset += widths[at]
                last += 1
            share = min(max((window - offset) / widths[at], 0.0), 1.0)
            if direction == 0:
                fall = highs[first] - (highs[at] + (lows[at] - highs[at]) * share)
            else:
                fall = (lows[at] + (highs[at] - lows[at]) * share) - lows[first]
            best = max(best, fall)
            offset -= widths[first]
    return best


@jit
@no_type_check
def _crossing(highs, lows, widths, n, start, level):
    """Return the first position where the fit is at most level."""
    position = start
    for k in range(n):
        if lows[k] <= level:
            if highs[k] > level:
                position += widths[k] * (highs[k] - level) / (highs[k] - lows[k])
            return position
        position += widths[k]
    return position


@jit
@no_type_check
def _write_features(curves, positions, window, firsts, lasts, steepest, halves):
    size = 2 * len(positions) + 2
    highs, lows, widths = np.empty(size), np.empty(size), np.empty(size)
    for row in range(len(curves)):
        curve = curves[row]
        n = _fit_segments(curve, positions, highs, lows, widths)
        first, last = highs[0], lows[n - 1]
        firsts[row], lasts[row] = first, last
        steepest[row] = _steepest_fall(highs, lows, widths, n, window)
        halves[row] = _crossing(highs, lows, widths, n, positions[0], (first + last) / 2)


def decreasing_features(
    curves: Float[np.ndarray, "predictions points"],
    positions: Float[np.ndarray, " points"],
    window: float,
) -> tuple[_Feature, _Feature, _Feature, _Feature]:
    """Return features of the fit of every curve.

    Args:
        curves: finite values.
        positions: positions of the columns, strictly increasing.
        window: width of the window, in the unit of `positions`; > 0.

    Returns:
        Per curve: first and last value of the fit, its largest fall inside one window, and the
        first position where it is at most the mean of first and last value.
    """
    first, last, steepest, half = (np.empty(len(curves)) for _ in range(4))
    values, places = np.ascontiguousarray(curves, np.float64), np.asarray(positions, np.float64)
    _write_features(values, places, float(window), first, last, steepest, half)
    return first, last, steepest, half
