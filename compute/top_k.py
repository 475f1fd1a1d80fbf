"""Exact, stable top-k of a long column in bounded memory."""

import numpy as np
from jaxtyping import Bool, Float, Int

BLOCK_ROWS = 1 << 20


def top_k(
    values: Float[np.ndarray, " rows"],
    limit: int,
    *,
    mask: Bool[np.ndarray, " rows"] | None = None,
    is_descending: bool = False,
    after: tuple[float, int] | None = None,
) -> tuple[Int[np.ndarray, " results"], Float[np.ndarray, " results"]]:
    """Return the first rows by value, ties by row; NaN sorts last in either order.

    Args:
        values: any float dtype; NaN where a row has no value.
        limit: maximum number of rows.
        mask: rows that count; all by default.
        is_descending: largest value first.
        after: (key, row) of the last row of the page before.

    Returns:
        (rows, keys): a key is the value, negated if descending, infinite for NaN.
    """
    rows = np.empty(0, dtype=np.int64)
    keys = np.empty(0, dtype=np.float64)
    for first in range(0, len(values), BLOCK_ROWS):
        block = values[first : first + BLOCK_ROWS].astype(np.float64)
        key = np.where(np.isnan(block), np.inf, -block if is_descending else block)
        is_candidate = np.ones(len(key), bool) if mask is None else mask[first : first + len(key)]
        if len(rows) == limit and limit:
            is_candidate = is_candidate & (key < keys[-1])  # a tie in a later row sorts behind
        if after is not None:
            is_tie = (key == after[0]) & (np.arange(first, first + len(key)) > after[1])
            is_candidate = is_candidate & ((key > after[0]) | is_tie)
        new = _preselect(key, np.flatnonzero(is_candidate), limit)
        rows, keys = np.concatenate([rows, new + first]), np.concatenate([keys, key[new]])
        order = np.lexsort((rows, keys))[:limit]
        rows, keys = rows[order], keys[order]
    return rows, keys


def _preselect(
    key: Float[np.ndarray, " rows"], candidates: Int[np.ndarray, " candidates"], limit: int
) -> Int[np.ndarray, " results"]:
    """Return the candidates that can be among the first `limit`, without a full sort."""
    if len(candidates) <= limit or limit == 0:
        return candidates[: limit or 0]
    values = key[candidates]
    last = np.partition(values, limit - 1)[limit - 1]
    below = candidates[values < last]
    ties = candidates[values == last][: limit - len(below)]
    return np.concatenate([below, ties])
