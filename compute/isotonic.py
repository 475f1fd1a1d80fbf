"""Non-increasing least-squares fits of curves, and what is read off them; compiled.

A curve is the piecewise linear function through its points; its fit is the projection onto the
non-increasing functions under the integral of squares along the axis. The usual fit of the points
alone, with equal weights, is another one: it moves when points are added on the lines between
points. This one does not, so that what is read off it does not depend on how densely the axis is
sampled (two curves that draw the same line have the same fit).

The fit is the derivative of the least concave majorant of the curve's integral (the continuous form
of pool adjacent violators: Barlow et al., Statistical Inference under Order Restrictions, 1972,
chapter 1). It is continuous, and made of level stretches and of falling stretches of the curve.
"""

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float

from compute.jit import jit


@jit
@no_type_check
def _left_over(level, below, fall):
    """Integral of curve minus level over the end of a stretch that falls to `below`, up to level.

    `fall` is its width over twice its height: stretches are triangles.
    """
    return -fall * (level - below) ** 2 if level > below else 0.0


@jit
@no_type_check
def _right_over(level, above, below, width):
    """Integral of curve minus level over the part, above level, of a stretch above … below."""
    if level >= above:
        return 0.0
    if level >= below:
        return (above - level) ** 2 * width / (2.0 * (above - below))
    return ((above + below) / 2.0 - level) * width


@jit
@no_type_check
def _level(total, width, low, fall, above, below, right):
    """Return the level at which the integral of curve minus level, a parabola, is zero."""
    mean = total / width
    if fall == 0.0 and right == 0.0:
        return mean
    left = fall if right > 0.0 or mean > low else 0.0
    drop = right / (2.0 * (above - below)) if right > 0.0 else 0.0
    under = mean - low if left > 0.0 else 0.0
    over = above - mean if right > 0.0 else 0.0
    a = drop - left
    b = width + 2.0 * left * under + 2.0 * drop * over
    c = drop * over * over - left * under * under
    return mean + 2.0 * c / (b + math.sqrt(max(b * b - 4.0 * a * c, 0.0)))


@jit
@no_type_check
def _absorbed(highs, lows, widths, n, total, width, above, below, right):
    """Take in every stretch that lies wholly beyond the level, on either side.

    Returns (n, total, width, right) as `_pool` has them, what was taken in added, and of the last
    stretch left on the stack: its lower end, and its width over twice its height.
    """
    while True:
        low, fall = math.inf, 0.0
        if n > 0:
            # Does all of the stretch to the left lie below the level?
            high, low = highs[n - 1], lows[n - 1]
            fall = widths[n - 1] / (2.0 * (high - low)) if high > low else 0.0
            over = total - high * width + _left_over(high, low, fall)
            if right > 0.0:
                over += _right_over(high, above, below, right)
            if over > 0.0:
                total += (high + low) / 2.0 * widths[n - 1]
                width += widths[n - 1]
                n -= 1
                continue
        if right > 0.0:
            # Does all of the stretch to the right lie above it?
            over = total - below * width + _left_over(below, low, fall)
            over += _right_over(below, above, below, right)
            if over < 0.0:
                total += (above + below) / 2.0 * right
                width += right
                right = 0.0
                continue
        return n, total, width, right, low, fall


@jit
@no_type_check
def _pool(highs, lows, widths, n, total, width, above, below, right):
    """Put a level stretch on the stack, grown until the fit falls on both of its sides.

    `total` and `width` are the curve's integral and length so far; right of it follows a stretch
    from `above` to `below` of width `right` (0 where there is none), of which it takes what it
    needs. The rest of that stretch is put on the stack too. Returns the new height of the stack.
    """
    n, total, width, right, low, fall = _absorbed(
        highs, lows, widths, n, total, width, above, below, right
    )
    level = _level(total, width, low, fall, above, below, right)
    if n > 0 and level > lows[n - 1] and highs[n - 1] > lows[n - 1]:
        taken = widths[n - 1] * (level - lows[n - 1]) / (highs[n - 1] - lows[n - 1])
        taken = min(taken, widths[n - 1])
        widths[n - 1] -= taken
        width += taken
        lows[n - 1] = min(level, highs[n - 1])
    if right > 0.0:
        taken = min(right * (above - level) / (above - below), right)
        width += taken
        right -= taken
    highs[n] = lows[n] = level
    widths[n] = width
    n += 1
    if right > 0.0 and level > below:
        highs[n], lows[n], widths[n] = level, below, right
        n += 1
    return n


@jit
@no_type_check
def _fit(curve, places, highs, lows, widths):
    """Write the stretches of a curve's fit, left to right; return how many they are."""
    n = 0
    for j in range(len(curve) - 1):
        above, below = curve[j], curve[j + 1]
        width = places[j + 1] - places[j]
        if above <= below:
            n = _pool(highs, lows, widths, n, (above + below) / 2 * width, width, 0.0, 0.0, 0.0)
        elif n > 0 and lows[n - 1] < above:
            # Only a level stretch can end below the curve.
            n -= 1
            total = highs[n] * widths[n]
            n = _pool(highs, lows, widths, n, total, widths[n], above, below, width)
        else:
            highs[n], lows[n], widths[n] = above, below, width
            n += 1
    return n


@jit
@no_type_check
def _steepest(highs, lows, widths, n, window):
    """Largest fall of the fit inside one window.

    The fall inside a window is piecewise linear in its place and bends only where one of its ends
    meets an end of a stretch: windows that start there are tried from left to right, and windows
    that end there from right to left.
    """
    best = 0.0
    for direction in range(2):
        last = 0  # the stretch where the window ends
        passed = 0.0  # of the widths from the window's start to the start of that stretch
        for k in range(n):
            first = k if direction == 0 else n - 1 - k
            if last < k:
                last, passed = k, 0.0
            while True:
                at = last if direction == 0 else n - 1 - last
                if last == n - 1 or passed + widths[at] >= window:
                    break
                passed += widths[at]
                last += 1
            share = min(max((window - passed) / widths[at], 0.0), 1.0)
            if direction == 0:
                fall = highs[first] - (highs[at] + (lows[at] - highs[at]) * share)
            else:
                fall = (lows[at] + (highs[at] - lows[at]) * share) - lows[first]
            best = max(best, fall)
            passed -= widths[first]
    return best


@jit
@no_type_check
def _crossing(highs, lows, widths, n, start, level):
    """First place where the fit is no higher than level."""
    place = start
    for k in range(n):
        if lows[k] <= level:
            if highs[k] > level:
                place += widths[k] * (highs[k] - level) / (highs[k] - lows[k])
            return place
        place += widths[k]
    return place


@jit
@no_type_check
def _read_fits(curves, places, window, firsts, lasts, falls, halves):
    size = 2 * len(places) + 2
    highs, lows, widths = np.empty(size), np.empty(size), np.empty(size)
    for row in range(len(curves)):
        curve = curves[row]
        n = _fit(curve, places, highs, lows, widths)
        first, last = highs[0], lows[n - 1]
        firsts[row], lasts[row] = first, last
        falls[row] = _steepest(highs, lows, widths, n, window)
        halves[row] = _crossing(highs, lows, widths, n, places[0], (first + last) / 2)


@jit
@no_type_check
def _sample_fits(curves, places, wanted, values):
    size = 2 * len(places) + 2
    highs, lows, widths = np.empty(size), np.empty(size), np.empty(size)
    for row in range(len(curves)):
        n = _fit(curves[row], places, highs, lows, widths)
        k, start = 0, places[0]
        for j in range(len(wanted)):
            while k < n - 1 and start + widths[k] <= wanted[j]:
                start += widths[k]
                k += 1
            share = min(max((wanted[j] - start) / widths[k], 0.0), 1.0)
            values[row, j] = highs[k] + (lows[k] - highs[k]) * share


def decreasing_fits(
    curves: Float[np.ndarray, "predictions points"],
    places: Float[np.ndarray, " points"],
    wanted: Float[np.ndarray, " places"],
) -> Float[np.ndarray, "predictions places"]:
    """Return the non-increasing fit of every curve at some places of the axis.

    Args:
        curves: finite values; row i is linear between its points.
        places: of the columns; strictly increasing.
        wanted: places, ascending, from the first of `places` to the last.

    Source: this project; the projection is that of Barlow et al. 1972, chapter 1.
    """
    values = np.empty((len(curves), len(wanted)))
    _sample_fits(
        np.ascontiguousarray(curves, np.float64),
        np.asarray(places, np.float64),
        np.asarray(wanted, np.float64),
        values,
    )
    return values


def decreasing_features(
    curves: Float[np.ndarray, "predictions points"],
    places: Float[np.ndarray, " points"],
    window: float,
) -> tuple[
    Float[np.ndarray, " predictions"],
    Float[np.ndarray, " predictions"],
    Float[np.ndarray, " predictions"],
    Float[np.ndarray, " predictions"],
]:
    """Return first value, last value, largest fall in a window, and half-way place of every fit.

    Args:
        curves: finite values.
        places: of the columns; strictly increasing.
        window: width of the window, in the unit of `places`; > 0.

    Returns:
        Per curve: the fit's first and last value; the most that it falls inside one window; the
        first place where it is no higher than the mean of its first and last value.
    """
    first, last, fall, half = (np.empty(len(curves)) for _ in range(4))
    _read_fits(
        np.ascontiguousarray(curves, np.float64),
        np.asarray(places, np.float64),
        float(window),
        first,
        last,
        fall,
        half,
    )
    return first, last, fall, half
