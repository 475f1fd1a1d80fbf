"""JSON files that people hand in: read whole, or refused with the file's name."""

import json
from pathlib import Path
from typing import Any

from backend.errors import InvalidInputError

MAX_BYTES = 1 << 30
MAX_SHOWN = 80


def shown(value: object) -> str:
    """Return `value` as an error message names it: short, on one line, always printable."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {shown(twice)} occurs twice in one object")
    return found


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; no object may have one name twice.

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
    except (ValueError, RecursionError) as error:  # ValueError: also UTF-8, and endless numbers
        raise InvalidInputError(f"{path} is not JSON ({error})", "Correct the file") from error
