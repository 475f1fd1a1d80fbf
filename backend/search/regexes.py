"""Regular expressions that people send: linear time and bounded memory, whatever they hold.

RE2 has no backtracking. What is left to bound is the size of the automaton: its memory, and the
number of instructions, which is what a byte of text costs when its cache of states overflows.
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
    """A compiled pattern, searched for in UTF-8; spans are byte offsets."""

    def __init__(self, compiled: re2._Regexp) -> None:
        self._compiled = compiled

    def is_in(self, text: bytes) -> bool:
        """Return whether the pattern matches anywhere in `text`."""
        return self._compiled.search(text) is not None

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the matches as `finditer` finds them: leftmost first, none overlapping."""
        for match in self._compiled.finditer(text):
            yield match.span()


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = MAX_MEMORY_BYTES
    options.log_errors = False
    options.never_capture = True  # only whole matches are asked for, and they are cheaper
    return options


def _compile_error(pattern: str) -> str | None:
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        message = error.args[0]
        return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return None


def _position(pattern: str, reason: str, part: str) -> int:
    """Return the character (from 1) where a pattern goes wrong.

    RE2 names the part at fault; where it names the whole pattern, a missing bracket is missing at
    the end, and a bracket too many is the end of the shortest beginning that is refused for it.
    """
    if reason == _UNEXPECTED:
        ends = range(1, len(pattern))
        refused = (n for n in ends if (_compile_error(pattern[:n]) or "").startswith(_UNEXPECTED))
        return next(refused, len(pattern))
    if not part or part == pattern or part not in pattern:
        return len(pattern)
    return pattern.index(part) + 1


def _refusal(pattern: str, message: str, field: str) -> InvalidInputError:
    reason, _, part = message.partition(": ")
    if reason.startswith("pattern too large"):
        return _too_large(field)
    at = _position(pattern, reason, part)
    named = f"{reason} {part!r}" if part and part != pattern else reason
    return InvalidInputError(
        f"{field} {pattern!r} is not a regular expression: {named} at character {at}",
        "Write RE2 syntax (no look-around, no back-references), with \\ before a character that "
        "stands for itself",
        field,
    )


def _too_large(field: str) -> InvalidInputError:
    return InvalidInputError(
        f"{field} compiles to more than {MAX_INSTRUCTIONS:,} steps or {MAX_MEMORY_BYTES >> 20} MiB",
        "Use smaller counts in {…}, or fewer classes of all Unicode letters",
        field,
    )


def check_text(text: str, most: int, field: str) -> None:
    """Refuse text that no document can hold, or that is empty or too long.

    Raises:
        InvalidInputError: naming `field`.
    """
    if not 1 <= len(text) <= most:
        raise InvalidInputError(
            f"{field} has {len(text)} characters", f"Give 1 to {most} characters", field
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInputError(
            f"{field} holds a zero byte or half of a surrogate pair",
            "Give text as documents hold it: whole characters, none of them zero",
            field,
        )


@lru_cache(maxsize=64)
def compile_pattern(pattern: str, field: str) -> Pattern:
    """Return a pattern that a person sent, compiled.

    Args:
        pattern: RE2 syntax, at most `MAX_PATTERN_CHARACTERS` characters.
        field: the name under which the person sent it.

    Raises:
        InvalidInputError: it is none, or too large; with the position of the fault.
    """
    check_text(pattern, MAX_PATTERN_CHARACTERS, field)
    message = _compile_error(pattern)
    if message is not None:
        raise _refusal(pattern, message, field)
    found = re2.compile(pattern, _options())
    if found.programsize > MAX_INSTRUCTIONS:
        raise _too_large(field)
    return Pattern(found)
