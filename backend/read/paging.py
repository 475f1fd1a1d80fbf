"""Pages of lists: cursors, limits and slices."""

from collections.abc import Sequence
from typing import Any

from backend.errors import InvalidInputError


def parse_cursor(cursor: str | None) -> int:
    """Return the offset that a cursor stands for.

    Raises:
        InvalidInputError: it is not one that this program gave.
    """
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise InvalidInputError(
            f"cursor {cursor!r} is not valid", "Leave it out to begin at the start", "cursor"
        )
    return int(cursor)


def parse_tail_cursor(cursor: str | None) -> int | None:
    """Return how many rows a cursor into a growing list says are left, None for the first page.

    Raises:
        InvalidInputError: it is not one that this program gave.
    """
    return None if cursor is None else parse_cursor(cursor)


def tail_page(n_rows: int, left: int | None, limit: int) -> tuple[int, str | None]:
    """Return (offset of a page of a list to which rows are added in front, cursor of the next).

    A cursor counts from the end, so that a row that comes meanwhile shows no other one twice.
    """
    here = n_rows if left is None else min(left, n_rows)
    return n_rows - here, str(here - limit) if here > limit else None


def check_limit(limit: int, most: int) -> int:
    """Return `limit` if it is 1..most.

    Raises:
        InvalidInputError: it is not.
    """
    if not 1 <= limit <= most:
        raise InvalidInputError(f"limit is {limit}", f"Choose 1 to {most}", "limit")
    return limit


def paginate(rows: Sequence[Any], offset: int, limit: int) -> tuple[Sequence[Any], str | None]:
    """Return (rows of this page, cursor of the next)."""
    end = offset + limit
    return rows[offset:end], str(end) if end < len(rows) else None
