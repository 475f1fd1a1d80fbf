"""Addresses of the search page: the one asked for, with parameters taken away and added."""

from collections.abc import Collection, Iterable, Sequence
from urllib.parse import urlencode

Items = Sequence[tuple[str, str]]
SHAPE = ("sketch", "preset", "at", "like")


def non_empty_params(items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters that say something, without the place in the list."""
    return [(name, value) for name, value in items if value != "" and name != "cursor"]


def address(
    path: str,
    items: Items,
    drop: Collection[str | tuple[str, str]] = (),
    **add: str | int | float,
) -> str:
    """Return `path` with parameters.

    Args:
        path: what comes before the question mark.
        items: names and values, names may repeat.
        drop: names, or single (name, value) pairs, to leave out.
        add: what to add, in place of the same names in `items`.
    """
    kept = [
        (name, value)
        for name, value in items
        if name not in drop and (name, value) not in drop and name not in add
    ]
    asked = [*kept, *((name, str(value)) for name, value in add.items())]
    # Colons and commas of a sketch are legal in a query, and easier to read as they are.
    return path + ("?" + urlencode(asked, safe=":,") if asked else "")
