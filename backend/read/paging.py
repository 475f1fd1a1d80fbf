"""Pages of lists: cursors, limits and slices."""

from collections.abc import Sequence
from typing import Any

from backend.errors import InvalidInputError


def parse_cursor(cursor: str | None) -> int:
    """Return the offset of a cursor, 0 for None.

    Raises:
        InvalidInputError: the cursor is not valid.
    """
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise InvalidInputError(
            f"cursor {cursor!r} is not valid", "Omit it to start from the first page", "cursor"
        )
    return int(cursor)


def parse_tail_cursor(cursor: str | None) -> int | None:
    """Return the number of rows from a tail cursor to the end, None for the first page.

    Raises:
        InvalidInputError: the cursor is not valid.
    """
    return None if cursor is None else parse_cursor(cursor)


def tail_page(n_rows: int, n_left: int | None, limit: int) -> tuple[int, str | None]:
    """Return (offset of a page, cursor of the next page) of a list with new rows in front.

    The cursor counts from the end, so that new rows neither repeat nor shift others.
    """
    remaining = n_rows if n_left is None else min(n_left, n_rows)
    return n_rows - remaining, str(remaining - limit) if remaining > limit else None


def check_limit(limit: int, maximum: int) -> int:
    """Return `limit` if it is from 1 to `maximum`.

    Raises:
        InvalidInputError: it is out of range.
    """
    if not 1 <= limit <= maximum:
        raise InvalidInputError(f"limit is {limit}", f"Choose 1 to {maximum}", "limit")
    return limit


def paginate(rows: Sequence[Any], offset: int, limit: int) -> tuple[Sequence[Any], str | None]:
    """Return (rows of the page, cursor of the next page)."""
    end = offset + limit
    return rows[offset:end], str(end) if end < len(rows) else None
