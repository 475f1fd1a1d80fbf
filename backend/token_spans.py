"""Which bytes of a document's text each of its tokens stands for.

Tokens of a byte-level tokenizer are the text itself, cut into pieces, and so their lengths are
their places. Others (SentencePiece's first space, normalised text) are asked of the tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from tokenizers import Tokenizer as HubTokenizer

from backend.models import Tokenizer
from backend.tokens import Vocabulary, parse_tokenizer, vocabulary


@dataclass(frozen=True)
class Spans:
    """Bytes `starts[i]` … `ends[i] - 1` of a text are token i; both never fall.

    Tokens that share a character may share bytes; a token without text has none.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def overlapping(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which tokens overlap any of the byte ranges first[k] … last[k] - 1."""
        change = np.zeros(len(self.starts) + 1, np.int64)
        np.add.at(change, np.searchsorted(self.ends, first, side="right"), 1)
        np.add.at(change, np.searchsorted(self.starts, last, side="left"), -1)
        return (np.cumsum(change)[:-1] > 0) & (self.ends > self.starts)


def _clipped(starts: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> Spans:
    return Spans(
        np.minimum(np.maximum.accumulate(starts), size),
        np.minimum(np.maximum.accumulate(ends), size),
    )


class TokenPlaces:
    """Finds the places of tokens in texts of one tokenizer."""

    def __init__(self, data: bytes, words: Vocabulary) -> None:
        self._data = data
        self._words = words

    @cached_property
    def _tokenizer(self) -> HubTokenizer:
        tokenizer = parse_tokenizer(self._data)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _pieces(self, ids: Sequence[int]) -> list[bytes]:
        held = self._words.bytes
        return [held[i] if 0 <= i < len(held) else b"" for i in ids]

    def spans(self, ids: Sequence[int], text: bytes) -> Spans:
        """Return the places of `ids` in `text`, the UTF-8 that they were made from.

        The text may end before the tokens do (spaces cut off) or after them (inside a character).
        """
        pieces = self._pieces(ids)
        joined = b"".join(pieces)
        common = min(len(joined), len(text))
        if joined[:common] != text[:common]:
            return self._asked(ids, text)
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return _clipped(np.concatenate([[0], ends[:-1]])[: len(ends)], ends, len(text))

    def _asked(self, ids: Sequence[int], text: bytes) -> Spans:
        encoding = self._tokenizer.encode(text.decode(), add_special_tokens=False)
        places = _byte_offsets(text)
        same = _common_length(ids, encoding.ids)
        chars = np.array(encoding.offsets[:same], np.int64).reshape(same, 2)
        # A byte that is written as a token of its own has no width in characters: it is there
        # for the whole of its character.
        chars[:, 1] = np.where(
            (chars[:, 0] == chars[:, 1]) & (chars[:, 0] < len(places) - 1),
            chars[:, 1] + [len(piece) > 0 for piece in self._pieces(ids[:same])],
            chars[:, 1],
        )
        starts, ends = places[chars[:, 0]], places[chars[:, 1]]
        # The end of a text that was cut may be tokenised otherwise than before: what is left
        # follows, each token as long as its own text.
        begun = int(ends[-1]) if same else 0
        rest = np.cumsum([len(p) for p in self._pieces(ids[same:])], dtype=np.int64) + begun
        return _clipped(
            np.concatenate([starts, np.concatenate([[begun], rest[:-1]])[: len(rest)]]),
            np.concatenate([ends, rest]),
            len(text),
        )


def _byte_offsets(text: bytes) -> NDArray[np.int64]:
    """Return the byte offset of every character, and of the end."""
    raw = np.frombuffer(text, np.uint8)
    return np.append(np.flatnonzero((raw & 0xC0) != 0x80), len(raw)).astype(np.int64)


def _common_length(ids: Sequence[int], others: Sequence[int]) -> int:
    pairs = enumerate(zip(ids, others, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(ids), len(others)))


_by_vocabulary: dict[int, TokenPlaces] = {}


def token_places(session: Session, tokenizer_id: int) -> TokenPlaces:
    """Return the finder of places of a stored tokenizer's tokens, one a process."""
    words = vocabulary(session, tokenizer_id)  # kept for the life of the process
    if id(words) not in _by_vocabulary:
        data = session.scalars(select(Tokenizer.json).where(Tokenizer.id == tokenizer_id)).one()
        _by_vocabulary[id(words)] = TokenPlaces(data, words)
    return _by_vocabulary[id(words)]
