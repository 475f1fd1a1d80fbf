"""Addresses of pages: the current query parameters with some of them removed or replaced."""

from collections.abc import Collection, Iterable, Sequence
from urllib.parse import urlencode

Params = Sequence[tuple[str, str]]
SHAPE = ("sketch", "preset", "at", "like")


def non_empty_params(params: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters that have a value, without the cursor."""
    return [(name, value) for name, value in params if value != "" and name != "cursor"]


def address(
    path: str,
    params: Params,
    drop: Collection[str | tuple[str, str]] = (),
    **add: str | int | float,
) -> str:
    """Return `path` with query parameters.

    Args:
        path: part before the question mark.
        params: names and values, names may repeat.
        drop: names, or single (name, value) pairs, to remove.
        add: parameters to add; each replaces all of the same name in `params`.
    """
    remaining = [
        (name, value)
        for name, value in params
        if name not in drop and (name, value) not in drop and name not in add
    ]
    query = [*remaining, *((name, str(value)) for name, value in add.items())]
    # Colons and commas of a sketch are legal in a query, and easier to read unescaped.
    return path + ("?" + urlencode(query, safe=":,") if query else "")
