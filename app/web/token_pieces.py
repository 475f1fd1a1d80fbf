"""Tokens as pieces of text, for the macros that print them (`templates/_macros/tokens.html`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.figures.labels import mark
from app.figures.numbers import measured
from backend.corpora.heat_scales import MEASURES, heat_class
from backend.read.views import Token, TokenValue

INDENTATION = 3  # as many spaces or more are indentation and need no signs


@dataclass(frozen=True)
class Piece:
    """A sign for an invisible character, then text.

    `over`: the sign has no width, only the text after it. `is_space`: the sign stands for a space;
    the style sheet draws it as an open box, which more fonts have.
    """

    sign: str
    text: str
    over: bool = False
    is_space: bool = False


def is_plain(text: str, chip: bool = False) -> bool:
    """Return whether `text` needs no signs: no invisible character, no space at its ends."""
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
    """Split `text` at characters that need a sign.

    Args:
        text: what to print.
        chip: a token by itself: leading spaces get signs, line breaks do not break.
    """
    body = text.rstrip(" ")
    parts: list[Piece] = []
    if chip and body:
        first = len(body) - len(body.lstrip(" "))
        parts, body = _spaces(first, chip), body[first:]
    run = ""
    for character in body:
        sign = mark(character)
        if sign is None:
            run += character
            continue
        if run:
            parts.append(Piece("", run))
            run = ""
        text_after = character if not chip and character in "\n\t" else ""
        parts.append(Piece(sign, text_after, over=text_after == "\t"))
    if run:
        parts.append(Piece("", run))
    trailing = len(text) - len(text.rstrip(" "))
    return (*parts, *_spaces(trailing, chip))


def loss_class(value: float | None) -> int | None:
    """Return the colour class of a loss in nats, None for None."""
    return None if value is None else heat_class(value, MEASURES["loss"].bounds)


class Cell(NamedTuple):
    """A token of a running text: CSS classes, tooltip, text and address."""

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
    link_query: str = "",
) -> list[Cell]:
    """Return the tokens of a text as the macro `run` prints them.

    Args:
        items: tokens with their values.
        levels: colour classes; default: those of the losses.
        colours: "h", or "d" for classes that diverge from zero.
        unit: unit of the values.
        has_answer: the last token is the predicted one.
        base: address of the predictions, to make links; None: no links.
        link_query: query string of these links.
    """
    answer = len(items) - 1 if has_answer else -1
    text_cells = []
    for i, (item, level) in enumerate(
        zip(items, levels or (loss_class(item.value) for item in items), strict=True)
    ):
        classes = "t" if level is None else f"t {colours}{level}"
        classes += (" ans" if i == answer else "") + (" part" if item.token.part_of else "")
        is_link = base is not None and item.prediction is not None
        href = f"{base}{item.prediction}{link_query}" if is_link else None
        text = item.token.shown
        about = _about(item, unit)
        text_cells.append(Cell(classes, about, text, is_plain(text), item.position, href))
    return text_cells


def join_tokens(tokens: Iterable[Token]) -> str:
    """Return the text of tokens on one line, with signs for line breaks and tabs."""
    return "".join(token.shown for token in tokens).replace("\n", "⏎").replace("\t", "⇥")
