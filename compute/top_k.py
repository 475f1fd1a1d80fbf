"""The first entries of a long column in order of value: exact, stable and in bounded memory."""

import numpy as np
from jaxtyping import Bool, Float, Int

ROWS_AT_ONCE = 1 << 20


def top_k(
    values: Float[np.ndarray, " rows"],
    limit: int,
    *,
    mask: Bool[np.ndarray, " rows"] | None = None,
    is_descending: bool = False,
    after: tuple[float, int] | None = None,
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    """The first rows by value, ties by row; rows without a value come last in either order.

    Args:
        values: any float dtype; NaN where there is none.
        limit: how many rows to return at most.
        mask: which rows count; all by default.
        is_descending: the largest first.
        after: (key, row) of the last one that was returned before.

    Returns:
        (rows, keys): the key is the value, its negative if descending, infinite without a value.
    """
    rows = np.empty(0, dtype=np.int64)
    keys = np.empty(0, dtype=np.float64)
    for first in range(0, len(values), ROWS_AT_ONCE):
        block = values[first : first + ROWS_AT_ONCE].astype(np.float64)
        key = np.where(np.isnan(block), np.inf, -block if is_descending else block)
        wanted = np.ones(len(key), dtype=bool) if mask is None else mask[first : first + len(key)]
        if len(rows) == limit and limit:
            wanted = wanted & (key < keys[-1])  # an equal one further down is behind
        if after is not None:
            tie = (key == after[0]) & (np.arange(first, first + len(key)) > after[1])
            wanted = wanted & ((key > after[0]) | tie)
        new = _first(key, np.flatnonzero(wanted), limit)
        rows, keys = np.concatenate([rows, new + first]), np.concatenate([keys, key[new]])
        order = np.lexsort((rows, keys))[:limit]
        rows, keys = rows[order], keys[order]
    return rows, keys


def _first(
    key: Float[np.ndarray, " rows"], candidates: Int[np.ndarray, " candidates"], limit: int
) -> Int[np.ndarray, " kept"]:
    """Those of the candidates that can be among the first `limit`, without a full sort."""
    if len(candidates) <= limit or limit == 0:
        return candidates[: limit or 0]
    chosen = key[candidates]
    last = np.partition(chosen, limit - 1)[limit - 1]
    below = candidates[chosen < last]
    ties = candidates[chosen == last][: limit - len(below)]
    return np.concatenate([below, ties])
