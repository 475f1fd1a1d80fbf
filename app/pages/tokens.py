"""Tokens as pieces of text for the one macro that prints them (`_macros/tokens.html`)."""

from dataclasses import dataclass
from functools import lru_cache

from app.figures.labels import mark
from backend.queries.heat import SCALES, heat_class

INDENTATION = 3  # this many spaces and more are indentation and need no marks


@dataclass(frozen=True)
class Piece:
    """A sign for something invisible, then text.

    `over`: the sign takes up no room, the text after it does. `is_space`: the sign stands for a
    space; the style sheet draws it as an open box, which more fonts have.
    """

    sign: str
    text: str
    over: bool = False
    is_space: bool = False


def is_plain(text: str, chip: bool = False) -> bool:
    """Return whether `text` prints as it is: nothing invisible, no space that could be missed."""
    if not text or not text.isprintable():
        return False
    return text[-1] != " " and not (chip and text[0] == " ")


def _spaces(count: int, chip: bool) -> list[Piece]:
    if chip:
        return [Piece("␠", "", is_space=True)] * count
    if count >= INDENTATION:
        return [Piece("", " " * count)]
    return [Piece("␠", " ", over=True, is_space=True)] * count


@lru_cache(maxsize=4096)
def pieces(text: str, chip: bool = False) -> tuple[Piece, ...]:
    """Split `text` where something invisible needs a sign.

    Args:
        text: what to print.
        chip: the token stands alone: its first spaces count, and lines do not break.
    """
    body = text.rstrip(" ")
    found: list[Piece] = []
    if chip and body:
        first = len(body) - len(body.lstrip(" "))
        found, body = _spaces(first, chip), body[first:]
    run = ""
    for character in body:
        sign = mark(character)
        if sign is None:
            run += character
            continue
        if run:
            found.append(Piece("", run))
            run = ""
        kept = character if not chip and character in "\n\t" else ""
        found.append(Piece(sign, kept, over=kept == "\t"))
    if run:
        found.append(Piece("", run))
    trailing = len(text) - len(text.rstrip(" "))
    return (*found, *_spaces(trailing, chip))


def loss_class(value: float | None) -> int | None:
    """Return the colour class of a loss in nats, None where there is none."""
    return None if value is None else heat_class(value, SCALES["loss"])
