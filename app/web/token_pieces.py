"""Tokens as pieces of text for the one macro that prints them (`_macros/tokens.html`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.figures.labels import mark
from app.figures.numbers import measured
from backend.corpora.heat_scales import MEASURES, heat_class
from backend.read.views import Token, TokenValue

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
    return None if value is None else heat_class(value, MEASURES["loss"].bounds)


class Cell(NamedTuple):
    """A token of a running text, ready to print: classes, words about it, text and address."""

    classes: str
    about: str
    text: str
    is_plain: bool
    position: int
    href: str | None


def _about(item: TokenValue, unit: str) -> str:
    value = "no prediction" if item.value is None else f"{measured(item.value)} {unit}"
    words = f"{value} · position {item.position} · token id {item.token.id}"
    if not item.token.part_of:
        return words
    ids = ", ".join(str(part) for part in item.token.part_of)
    return f"{words} · one character shared by tokens {ids}"


def cells(
    items: Sequence[TokenValue],
    levels: Iterable[int | None] | None = None,
    *,
    colours: str = "h",
    unit: str = "nats",
    has_answer: bool = False,
    base: str | None = None,
    kept: str = "",
) -> list[Cell]:
    """Return the tokens of a text, ready to print.

    Args:
        items: tokens with their values.
        levels: colour class of each; by default that of its loss.
        colours: "h", or "d" for classes that diverge from zero.
        unit: unit of the values.
        has_answer: the last token is the one that was to be predicted.
        base: address below which predictions lie; makes links of the tokens.
        kept: query of these links.
    """
    answer = len(items) - 1 if has_answer else -1
    found = []
    for i, (item, level) in enumerate(
        zip(items, levels or (loss_class(item.value) for item in items), strict=True)
    ):
        classes = "t" if level is None else f"t {colours}{level}"
        classes += (" ans" if i == answer else "") + (" part" if item.token.part_of else "")
        linked = base is not None and item.prediction is not None
        href = f"{base}{item.prediction}{kept}" if linked else None
        shown = item.token.shown
        found.append(Cell(classes, _about(item, unit), shown, is_plain(shown), item.position, href))
    return found


def joined(tokens: Iterable[Token]) -> str:
    """Return the text of tokens on one line: signs alone stand for line breaks and tabs."""
    return "".join(token.shown for token in tokens).replace("\n", "⏎").replace("\t", "⇥")
