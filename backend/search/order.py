"""The order of matches, and cursors into it.

A cursor holds the sort key of the last match on a page to the last bit, its index, and a hash of
the query and of the curve set: the next page always begins directly behind that match.
"""

import hashlib
import re
import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.read.losses import curve_scores
from backend.search.context import SearchContext
from backend.search.filters import SCORES, Mask
from backend.search.matches import Rows

if TYPE_CHECKING:
    from compute.curve_search import QueryCurve

SortKey = tuple[float, int]
ROWS_PER_BATCH = 1 << 20
_CURSOR = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})\.([0-9]{1,15})")


def query_hash(context: SearchContext) -> str:
    """Return a short hash of the query that a cursor belongs to: all but the page."""
    request = context.request
    parts = (
        context.curve_set.key,
        request.shape,
        request.effective_invariances,
        request.filters,
        request.effective_sort,
        request.order,
    )
    # repr gives every float to its last bit.
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def cursor_after(rows: Rows, query: str) -> str:
    """Return the cursor of the page after the last of some rows."""
    key = struct.pack(">d", rows.keys[-1]).hex()
    return f"{query}.{key}.{int(rows.indices[-1])}"


def parse_cursor(cursor: str | None, query: str) -> SortKey | None:
    """Return the (key, index) of the last match before the page of a cursor.

    Raises:
        InvalidInputError: the cursor belongs to another query.
    """
    if cursor is None:
        return None
    fields = _CURSOR.fullmatch(cursor)
    if fields is None or fields[1] != query:
        raise InvalidInputError(
            f"cursor {cursor!r} does not belong to this search",
            "Leave it out to begin at the start",
            "cursor",
        )
    (key,) = struct.unpack(">d", bytes.fromhex(fields[2]))
    return float(key), int(fields[3])


def top_rows(
    context: SearchContext,
    query_curve: "QueryCurve | None",
    mask: Mask | None,
    limit: int,
    after: SortKey | None = None,
) -> Rows:
    """Return the first `limit` (at least 1) matches after a sort key, in the order of a request.

    Raises:
        InvalidInputError: a descending order by distance.
    """
    index, sort = context.index, context.request.effective_sort
    is_descending = context.request.order == "desc"
    if sort == "distance":
        if is_descending:
            raise InvalidInputError(
                "the nearest curves come first", "Leave order out, or sort by a score", "order"
            )
        assert query_curve is not None, "effective_sort refuses distance without a shape"
        nearest = index.nearest(query_curve, limit, mask, after)
        return Rows(nearest.indices, nearest.distances, nearest.distances, nearest.shifts)
    if sort == "index":
        rows = rows_by_index(index.n_predictions, mask, limit, after, is_descending=is_descending)
    else:
        rows = _rows_by_score(context, sort, mask, limit, after)
    return rows if query_curve is None else _with_distances(rows, context, query_curve)


def rows_by_index(
    n_predictions: int, mask: Mask | None, limit: int, after: SortKey | None, *, is_descending: bool
) -> Rows:
    """Return predictions in the order of the corpus, or from its end."""
    last = None if after is None else after[1]
    if is_descending:
        end = n_predictions if last is None else min(last, n_predictions)
        rows = (
            np.arange(end - 1, max(-1, end - 1 - limit), -1)
            if mask is None
            else end - 1 - _first(mask[:end][::-1], limit)
        )
    else:
        start = 0 if last is None else min(last + 1, n_predictions)
        rows = (
            np.arange(start, min(start + limit, n_predictions))
            if mask is None
            else start + _first(mask[start:], limit)
        )
    return Rows(rows, np.zeros(len(rows)))


def _first(mask: Mask, limit: int) -> NDArray[np.int64]:
    """Return the first `limit` indices of a mask, without a list of all of them."""
    batches: list[NDArray[np.int64]] = []
    n_missing = limit
    for start in range(0, len(mask), ROWS_PER_BATCH):
        if n_missing <= 0:
            break
        rows = np.flatnonzero(mask[start : start + ROWS_PER_BATCH])[:n_missing] + start
        n_missing -= len(rows)
        batches.append(rows)
    return np.concatenate([np.empty(0, np.int64), *batches])


def _rows_by_score(
    context: SearchContext, sort: str, mask: Mask | None, limit: int, after: SortKey | None
) -> Rows:
    """Return predictions by a score; undefined scores come last in either order."""
    from compute.top_k import top_k

    values = curve_scores(context.store, context.curve_set, SCORES[sort])
    is_descending = context.request.order == "desc"
    rows, keys = top_k(values, limit, mask=mask, is_descending=is_descending, after=after)
    return Rows(rows, keys)


def _with_distances(rows: Rows, context: SearchContext, query_curve: "QueryCurve") -> Rows:
    """Return rows with their distances to the query curve."""
    from compute.curve_search import shape_distances

    distances, shifts = shape_distances(context.index.rows(rows.indices), query_curve)
    return Rows(rows.indices, rows.keys, distances, shifts)
