"""Regular expressions from users: linear time and bounded memory for any pattern.

RE2 does not backtrack, so only the size of the automaton needs bounds: its memory, and its number
of instructions, which is the cost per byte of text when its cache of states overflows.
"""

from collections.abc import Iterator
from functools import lru_cache

import re2

from backend.errors import InvalidInputError

MAX_PATTERN_CHARACTERS = 500
MAX_MEMORY_BYTES = 8 << 20
MAX_INSTRUCTIONS = 4_000
_UNEXPECTED = "unexpected )"


class Pattern:
    """A compiled pattern that searches UTF-8; spans are byte offsets."""

    def __init__(self, compiled: re2._Regexp) -> None:
        self._compiled = compiled

    def matches(self, text: bytes) -> bool:
        """Return whether the pattern matches anywhere in `text`."""
        return self._compiled.search(text) is not None

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the matches like `finditer`: leftmost first, without overlap."""
        for match in self._compiled.finditer(text):
            yield match.span()


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False
    options.never_capture = True  # groups are not needed, and cost time
    return options


def _compile_error(pattern: str) -> str | None:
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        message = error.args[0]
        return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return None


def _position(pattern: str, reason: str, part: str) -> int:
    """Return the character (from 1) of the error in a pattern.

    RE2 names the invalid part. If that is the whole pattern, a missing bracket is reported at the
    end, and a superfluous one at the end of the shortest prefix that RE2 rejects for it.
    """
    if reason == _UNEXPECTED:
        ends = range(1, len(pattern))
        rejected = (n for n in ends if (_compile_error(pattern[:n]) or "").startswith(_UNEXPECTED))
        return next(rejected, len(pattern))
    if not part or part == pattern or part not in pattern:
        return len(pattern)
    return pattern.index(part) + 1


def _pattern_error(pattern: str, message: str, field: str) -> InvalidInputError:
    reason, _, part = message.partition(": ")
    if reason.startswith("pattern too large"):
        return _too_large(field)
    position = _position(pattern, reason, part)
    description = f"{reason} {part!r}" if part and part != pattern else reason
    return InvalidInputError(
        f"{field} {pattern!r} is not a regular expression: {description} at character {position}",
        "Write RE2 syntax (no look-around, no back-references); escape special characters with \\",
        field,
    )


def _too_large(field: str) -> InvalidInputError:
    return InvalidInputError(
        f"{field} compiles to more than {MAX_INSTRUCTIONS:,} steps or {MAX_MEMORY_BYTES >> 20} MiB",
        "Use smaller counts in {…}, or fewer classes of all Unicode letters",
        field,
    )


def check_text(text: str, max_characters: int, field: str) -> None:
    """Refuse text that no document can contain, or that is empty or too long.

    Raises:
        InvalidInputError: naming `field`.
    """
    if not 1 <= len(text) <= max_characters:
        raise InvalidInputError(
            f"{field} has {len(text)} characters", f"Give 1 to {max_characters} characters", field
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInputError(
            f"{field} contains a zero byte or half of a surrogate pair",
            "Give whole characters, none of them zero",
            field,
        )


@lru_cache(maxsize=64)
def compile_pattern(pattern: str, field: str) -> Pattern:
    """Compile an RE2 pattern from a user; `field` is the name of its parameter, for the error.

    Raises:
        InvalidInputError: it is invalid, with the position of the error, or too large.
    """
    check_text(pattern, MAX_PATTERN_CHARACTERS, field)
    message = _compile_error(pattern)
    if message is not None:
        raise _pattern_error(pattern, message, field)
    compiled = re2.compile(pattern, _options())
    if compiled.programsize > MAX_INSTRUCTIONS:
        raise _too_large(field)
    return Pattern(compiled)
