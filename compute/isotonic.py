"""Least-squares monotone fits of many short rows at once (pool adjacent violators)."""

import numpy as np
from jaxtyping import Float, Int


def isotonic_decreasing(
    losses: Float[np.ndarray, "predictions points"],
) -> Float[np.ndarray, "predictions points"]:
    """Least-squares non-increasing fit of every row, equal weights (pool adjacent violators).

    The stacks of pooled blocks of all rows advance together, one column at a time.

    Args:
        losses: any unit; float16 and float32 are computed in float64.

    Returns:
        Float64 fit of the same shape, columns contiguous; a row with a non-finite value is NaN
        throughout.
    """
    count, n_points = losses.shape
    values = losses.astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    values[~finite] = 0
    means = np.zeros(count * n_points)
    sizes = np.zeros(count * n_points)
    bottom = np.arange(count) * n_points
    top = bottom - 1  # places in the flat stacks: 1-d takes are much faster than 2-d ones
    for point in range(n_points):
        top += 1
        means[top] = values[:, point]
        sizes[top] = 1
        if point:
            _pool_violators(means, sizes, bottom, top)
    fit = _spread_blocks(means, sizes, bottom, n_points)
    fit[~finite] = np.nan
    return fit


def _pool_violators(
    means: Float[np.ndarray, " places"],
    sizes: Float[np.ndarray, " places"],
    bottom: Int[np.ndarray, " predictions"],
    top: Int[np.ndarray, " predictions"],
) -> None:
    """Merge the last two blocks of each stack, in place, until none rises."""
    rows = np.flatnonzero(top > bottom)
    last = top[rows]
    while rows.size:
        rising = np.flatnonzero(means.take(last - 1) < means.take(last))
        rows, last = rows[rising], last[rising]
        below, above = sizes.take(last - 1), sizes.take(last)
        pooled = means.take(last - 1) * below + means.take(last) * above
        last -= 1
        sizes[last] = below + above
        means[last] = pooled / (below + above)
        top[rows] = last
        deep = np.flatnonzero(last > bottom[rows])
        rows, last = rows[deep], last[deep]


def _spread_blocks(
    means: Float[np.ndarray, " places"],
    sizes: Float[np.ndarray, " places"],
    bottom: Int[np.ndarray, " predictions"],
    n_points: int,
) -> Float[np.ndarray, "predictions points"]:
    """Write each block's mean to the points it covers; columns of the result are contiguous."""
    fit = np.empty((n_points, len(bottom))).T
    place = bottom.copy()
    left = sizes.take(place)
    for point in range(n_points):
        fit[:, point] = means.take(place)
        if point + 1 < n_points:
            left -= 1
            ended = left == 0
            place += ended
            left = np.where(ended, sizes.take(place), left)
    return fit
