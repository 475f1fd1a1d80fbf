"""Row-wise statistics of arrays with millions of short rows, computed column by column.

numpy starts an inner loop for every row; for rows of seven values a loop over columns is several
times faster.
"""

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "predictions points"]

MAX_PAIRED_POINTS = 24  # of more points, sorting rows is faster than comparing all column pairs


def average_ranks(values: Rows) -> Rows:
    """Return ranks from 0 within each row of finite values, in float64; ties share their mean."""
    if values.shape[1] <= MAX_PAIRED_POINTS:
        return _paired_ranks(values)
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    position = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    starts = np.ones(values.shape, dtype=bool)  # of a run of equal values
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(values.shape, dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    last = np.where(ends, position, values.shape[1])[:, ::-1]
    last = np.minimum.accumulate(last, axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    return ranks


def _paired_ranks(values: Rows) -> Rows:
    """Return the same by comparing all pairs of columns: faster for many short rows."""
    doubled = np.zeros((values.shape[1], len(values)), dtype=np.int8)
    for i, low in enumerate(values.T):
        for j in range(i + 1, len(doubled)):
            high = values[:, j]
            wins = (low < high).view(np.int8) + (low <= high).view(np.int8)  # of j over i: 0, 1, 2
            doubled[j] += wins
            doubled[i] += 2 - wins
    return (doubled / 2).T


def accumulate_rows(extreme: np.ufunc, values: Rows) -> Rows:
    """Return running extremes of each row, like `extreme.accumulate(values, axis=1)`."""
    result = np.empty_like(values)
    result[:, 0] = values[:, 0]
    for j in range(1, values.shape[1]):
        extreme(result[:, j - 1], values[:, j], out=result[:, j])
    return result
