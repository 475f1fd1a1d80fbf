"""The order of found predictions, and cursors into it.

A cursor holds the sort key of the last match to the last bit, its index, and a hash of the
question and of the curves it was asked of: a page never begins anywhere but behind that match.
"""

import hashlib
import re
import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.read.curve_index import CurveIndex
from backend.read.losses import curve_scores
from backend.search.filters import Mask
from backend.search.matches import Rows
from backend.store.database import Store
from backend.store.tables import CurveSet

if TYPE_CHECKING:
    from compute.curve_search import QueryCurve

SCORES = {
    "drop": "total_drop",
    "sharpness": "sharpness",
    "emergence": "emergence",
    "final": "final_loss",
}
After = tuple[float, int]
ROWS_AT_ONCE = 1 << 20
_CURSOR = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{16})\.([0-9]{1,15})")


def query_hash(*parts: object) -> str:
    """Return a short hash of what a cursor belongs to."""
    # repr gives every float to its last bit.
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def cursor_after(rows: Rows, question: str) -> str:
    """Return the cursor of the page behind the last of some rows."""
    key = struct.pack(">d", rows.keys[-1]).hex()
    return f"{question}.{key}.{int(rows.indices[-1])}"


def parse_cursor(cursor: str | None, question: str) -> After | None:
    """Return the (key, index) that a cursor stands behind.

    Raises:
        InvalidInputError: it is not one that this question gave.
    """
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None or found[1] != question:
        raise InvalidInputError(
            f"cursor {cursor!r} does not belong to this search",
            "Leave it out to begin at the start",
            "cursor",
        )
    (key,) = struct.unpack(">d", bytes.fromhex(found[2]))
    return float(key), int(found[3])


def rows_by_distance(
    index: CurveIndex, asked: "QueryCurve", mask: Mask | None, limit: int, after: After | None
) -> Rows:
    """Return the nearest curves."""
    found = index.nearest(asked, limit, mask, after)
    return Rows(found.indices, found.distances, found.distances, found.shifts)


def rows_by_index(
    n_predictions: int, mask: Mask | None, limit: int, after: After | None, *, is_descending: bool
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
    """Return the first `limit` places of a mask; a page of many does not list all of them."""
    found: list[NDArray[np.int64]] = []
    missing = limit
    for start in range(0, len(mask), ROWS_AT_ONCE):
        if missing <= 0:
            break
        rows = np.flatnonzero(mask[start : start + ROWS_AT_ONCE])[:missing] + start
        missing -= len(rows)
        found.append(rows)
    return np.concatenate([np.empty(0, np.int64), *found])


def rows_by_score(
    store: Store,
    curve_set: CurveSet,
    sort: str,
    mask: Mask | None,
    limit: int,
    after: After | None,
    *,
    is_descending: bool,
) -> Rows:
    """Return predictions by a score; those without one come last in either order."""
    from compute.top_k import top_k

    values = curve_scores(store, curve_set, SCORES[sort])
    rows, keys = top_k(values, limit, mask=mask, is_descending=is_descending, after=after)
    return Rows(rows, keys)


def with_distances(rows: Rows, index: CurveIndex, asked: "QueryCurve") -> Rows:
    """Return rows with their distances to the asked curve."""
    from compute.curve_search import shape_distances

    distances, shifts = shape_distances(index.rows(rows.indices), asked)
    return Rows(rows.indices, rows.keys, distances, shifts)
