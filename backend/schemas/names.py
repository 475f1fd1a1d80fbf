"""Names that appear in URLs."""

import re

from backend.errors import InvalidInputError

PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def check(name: str, kind: str) -> str:
    """Return a name that can be part of a URL.

    Raises:
        InvalidInputError: it cannot.
    """
    if not re.fullmatch(PATTERN, name):
        raise InvalidInputError(
            f"{kind} {name!r} is not usable",
            "Use 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first",
            "name",
        )
    return name
