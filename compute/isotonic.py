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
        Float64 fit of the same shape; a row with a non-finite value is NaN throughout.
    """
    count, n_points = losses.shape
    values = losses.astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    values[~finite] = 0
    means = np.zeros((count, n_points))
    sizes = np.zeros((count, n_points), dtype=np.int64)
    top = np.full(count, -1)
    everyone = np.arange(count)
    for point in range(n_points):
        top += 1
        means[everyone, top] = values[:, point]
        sizes[everyone, top] = 1
        _pool_violators(means, sizes, top)
    fit = _spread_blocks(means, sizes, top)
    fit[~finite] = np.nan
    return fit


def _pool_violators(
    means: Float[np.ndarray, "predictions points"],
    sizes: Int[np.ndarray, "predictions points"],
    top: Int[np.ndarray, " predictions"],
) -> None:
    """Merge the last two blocks of each stack, in place, until none rises."""
    rows = np.flatnonzero(top > 0)
    while rows.size:
        last = top[rows]
        rows = rows[means[rows, last - 1] < means[rows, last]]
        last = top[rows]
        below, above = sizes[rows, last - 1], sizes[rows, last]
        pooled = means[rows, last - 1] * below + means[rows, last] * above
        means[rows, last - 1] = pooled / (below + above)
        sizes[rows, last - 1] = below + above
        top[rows] -= 1
        rows = rows[top[rows] > 0]


def _spread_blocks(
    means: Float[np.ndarray, "predictions points"],
    sizes: Int[np.ndarray, "predictions points"],
    top: Int[np.ndarray, " predictions"],
) -> Float[np.ndarray, "predictions points"]:
    """Write each block's mean to the points it covers."""
    n_points = means.shape[1]
    live = np.arange(n_points) <= top[:, None]
    ends = np.cumsum(np.where(live, sizes, 0), axis=1)
    row, block = np.nonzero(live & (ends < n_points))
    starts_block = np.zeros(means.shape, dtype=np.int64)
    starts_block[row, ends[row, block]] = 1
    return np.take_along_axis(means, np.cumsum(starts_block, axis=1), axis=1)
