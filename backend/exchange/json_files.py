"""Read user-supplied JSON files; errors name the file."""

import json
from pathlib import Path
from typing import Any

from backend.errors import InvalidInputError

MAX_BYTES = 1 << 30
MAX_REPR_CHARACTERS = 80


def short_repr(value: object) -> str:
    """Return `repr(value)` cut to one short, printable line for error messages."""
    text = repr(value)
    return text if len(text) <= MAX_REPR_CHARACTERS else f"{text[: MAX_REPR_CHARACTERS - 1]}…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {short_repr(repeated)} occurs twice in one object")
    return document


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; duplicate names in an object are an error.

    Raises:
        InvalidInputError: missing, too large, not UTF-8, or not JSON.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file", "Give a JSON file")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInputError(
            f"{path} is larger than {MAX_BYTES >> 30} GiB", "Give fewer entries in one file"
        )
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # ValueError covers UTF-8 and long integers
        raise InvalidInputError(f"{path} is not JSON ({error})", "Correct the file") from error
