"""Chosen tokens: finding one by what a person types, and stored p(token) of documents."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.errors import InvalidInputError
from backend.read.tokens import Vocabulary, vocabulary
from backend.store import arrays
from backend.store.keys import result_key
from backend.store.lookup import tokenizer_of
from backend.store.tables import Checkpoint, Corpus, TargetLoss

# What stands for a character that a text field cannot hold, or that nobody would see in it.
SIGNS = {"⏎": "\n", "⇥": "\t", "␠": " "}
_SUGGESTIONS = 6


def with_placeholders(text: str) -> str:
    """Return a token's text as it can be typed: signs for line breaks, tabs and spaces."""
    for sign, character in SIGNS.items():
        text = text.replace(character, sign)
    return text


def _plain(text: str) -> str:
    for sign, character in SIGNS.items():
        text = text.replace(sign, character)
    return text


@lru_cache(maxsize=8)
def _ids_by_bytes(words: Vocabulary) -> dict[bytes, int]:
    # The lowest id wins where two tokens have the same bytes.
    return {word: i for i, word in reversed(list(enumerate(words.bytes)))}


def find_token(session: Session, corpus: Corpus, wanted: str) -> int:
    """Return the id of a token named by its text or as `id:198`.

    In a text ⏎, ⇥ and ␠ stand for line break, tab and space; a token of such a sign itself is
    found only by its id.

    Raises:
        InvalidInputError: the tokenizer has no such token (names some that begin like it), or the
            corpus no text.
    """
    words = vocabulary(session, tokenizer_of(corpus).id)
    number = wanted.removeprefix("id:")
    if number != wanted and number.isascii() and number.isdigit() and len(number) < 10:
        if int(number) < len(words.bytes):
            return int(number)
        raise InvalidInputError(
            f"there is no token id {number}", f"Ids are 0 to {len(words.bytes) - 1}", "target"
        )
    known = _ids_by_bytes(words)
    # Half a surrogate pair has bytes that no token has.
    encoded = _plain(wanted).encode("utf-8", "surrogatepass")
    found = known.get(encoded)
    if found is None or not wanted:
        raise InvalidInputError(
            f"{wanted!r} is not one token of this tokenizer", _near(known, encoded), "target"
        )
    return found


def _near(known: dict[bytes, int], wanted: bytes) -> str:
    starts = [b" " + wanted, wanted[:3]] if wanted else []
    near = sorted((w for w in known if any(w.startswith(s) for s in starts)), key=len)
    if not near:
        return "Give one token's text (⏎ for a line break, ␠ for a space), or its id as id:198"
    shown = ", ".join(with_placeholders(w.decode("utf-8", "replace")) for w in near[:_SUGGESTIONS])
    return f"Tokens like it: {shown}; or give an id as id:198"


def target_key(corpus: Corpus, document: int, token: int, checkpoint: Checkpoint) -> str:
    """Return the content key of p(`token`) over a document under a checkpoint."""
    return result_key(
        "target_loss",
        corpus=corpus.key,
        document=document,
        token=token,
        checkpoint=checkpoint.key,
        place=[checkpoint.model.suite.name, checkpoint.model.name, checkpoint.step],
        dtype="float32",
    )


def target_losses(
    session: Session, corpus: Corpus, document: int, token: int, checkpoint: Checkpoint
) -> NDArray[np.float16] | None:
    """Return −ln p(`token`) in the place of each predicted token (nats), None if not computed."""
    key = target_key(corpus, document, token, checkpoint)
    row = session.scalars(
        select(TargetLoss).where(TargetLoss.key == key).options(undefer(TargetLoss.data))
    ).one_or_none()
    if row is None:
        return None
    losses: NDArray[Any] = arrays.read(row, f"p(token {token}) over document {document}")
    return losses


def is_computed(session: Session, key: str) -> bool:
    """Whether p of a target is stored under this key."""
    return session.scalar(select(TargetLoss.id).where(TargetLoss.key == key)) is not None
