"""Views that every topic shares: frozen dataclasses that pages and API routes return.

Ranks start at 1. Losses and entropies are nats. `None` stands for a number that is not finite or
not defined. A `Token` is text for people; its id is beside it.
"""

from dataclasses import dataclass
from typing import Literal

Axis = Literal["N", "S"]


@dataclass(frozen=True)
class Token:
    """One token as text.

    Attributes:
        text: its own text; for bytes that are only part of a character, the replacement sign.
        id: its id in the tokenizer.
        shown: what to print: as `text`, with every split character printed once, whole, at its
            first token; the other tokens of that character print nothing.
        part_of: ids of all tokens that share a split character with this one; empty if whole.
    """

    text: str
    id: int
    shown: str
    part_of: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenValue:
    """A token of a document with its prediction; the first token of a document has none.

    `value` is a loss in nats (in heat: of the requested measure), None if not known.
    """

    token: Token
    position: int
    prediction: int | None
    value: float | None
