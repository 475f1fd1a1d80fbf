"""Target tokens: lookup by text or id, and stored p(token) of documents."""

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

# Placeholders of white space, which is invisible or impossible to type in a text field.
PLACEHOLDERS = {"⏎": "\n", "⇥": "\t", "␠": " "}
_SUGGESTIONS = 6


def with_placeholders(text: str) -> str:
    """Return a token's text with placeholders for line breaks, tabs and spaces."""
    for sign, character in PLACEHOLDERS.items():
        text = text.replace(character, sign)
    return text


def _plain(text: str) -> str:
    for sign, character in PLACEHOLDERS.items():
        text = text.replace(sign, character)
    return text


@lru_cache(maxsize=8)
def _ids_by_bytes(words: Vocabulary) -> dict[bytes, int]:
    # Of tokens with the same bytes, use the lowest id.
    return {word: i for i, word in reversed(list(enumerate(words.bytes)))}


def find_token(session: Session, corpus: Corpus, target: str) -> int:
    """Return the id of a token named by its text or as `id:198`.

    The placeholders ⏎, ⇥ and ␠ mean line break, tab and space; tokens that contain these
    characters can be found only by id.

    Raises:
        InvalidInputError: the tokenizer has no such token (the remedy lists similar ones), or the
            corpus has no text.
    """
    words = vocabulary(session, tokenizer_of(corpus).id)
    number = target.removeprefix("id:")
    if number != target and number.isascii() and number.isdigit() and len(number) < 10:
        if int(number) < len(words.bytes):
            return int(number)
        raise InvalidInputError(
            f"there is no token id {number}", f"Ids are 0 to {len(words.bytes) - 1}", "target"
        )
    ids = _ids_by_bytes(words)
    # No token has the bytes of half a surrogate pair.
    encoded = _plain(target).encode("utf-8", "surrogatepass")
    token_id = ids.get(encoded)
    if token_id is None or not target:
        raise InvalidInputError(
            f"{target!r} is not a single token of this tokenizer", _near(ids, encoded), "target"
        )
    return token_id


def _near(ids: dict[bytes, int], text: bytes) -> str:
    starts = [b" " + text, text[:3]] if text else []
    near = sorted((w for w in ids if any(w.startswith(s) for s in starts)), key=len)
    if not near:
        return "Give one token's text (⏎ for a line break, ␠ for a space), or its id as id:198"
    listed = ", ".join(with_placeholders(w.decode("utf-8", "replace")) for w in near[:_SUGGESTIONS])
    return f"Similar tokens: {listed}; or give an id as id:198"


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
    """Return −ln p(`token`) at each predicted position (nats), None if not computed."""
    key = target_key(corpus, document, token, checkpoint)
    row = session.scalars(
        select(TargetLoss).where(TargetLoss.key == key).options(undefer(TargetLoss.data))
    ).one_or_none()
    if row is None:
        return None
    losses: NDArray[Any] = arrays.read(row, f"p(token {token}) over document {document}")
    return losses


def is_computed(session: Session, key: str) -> bool:
    """Return whether p(token) is stored under this key."""
    return session.scalar(select(TargetLoss.id).where(TargetLoss.key == key)) is not None
