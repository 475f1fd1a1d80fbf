"""Byte spans of tokens in the text of a document.

Tokens of a byte-level tokenizer concatenate to the text, so their lengths give their spans. For
others (SentencePiece's first space, normalised text) the tokenizer gives the offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from tokenizers import Tokenizer as HubTokenizer

from backend.read.tokens import Vocabulary, parse_tokenizer, vocabulary
from backend.store.tables import Tokenizer


@dataclass(frozen=True)
class Spans:
    """Token i is bytes `starts[i]` … `ends[i] - 1` of a text; both are non-decreasing.

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
    """Finder of token spans in texts of one tokenizer."""

    def __init__(self, data: bytes, words: Vocabulary) -> None:
        self._data = data
        # One array of all entries, so that a document's tokens are joined without a loop. The last,
        # empty entry is for ids that are not in the vocabulary.
        self._bytes = np.frombuffer(b"".join(words.bytes), np.uint8)
        self._lengths = np.array([*map(len, words.bytes), 0], np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths

    @cached_property
    def _tokenizer(self) -> HubTokenizer:
        tokenizer = parse_tokenizer(self._data)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def spans(self, ids: NDArray[Any], text: bytes) -> Spans:
        """Return the spans of `ids` in `text`, the UTF-8 from which they were tokenized.

        The text may be shorter than the tokens (stripped spaces) or longer (a cut character).
        """
        entries = np.minimum(ids, len(self._lengths) - 1).astype(np.int64)
        lengths = self._lengths[entries]
        ends = np.cumsum(lengths)
        starts = ends - lengths
        size = int(ends[-1]) if len(ends) else 0
        joined = self._bytes[np.repeat(self._starts[entries] - starts, lengths) + np.arange(size)]
        common = min(size, len(text))
        if np.array_equal(joined[:common], np.frombuffer(text, np.uint8)[:common]):
            return _clipped(starts, ends, len(text))
        return self._tokenizer_spans(ids, lengths, text)

    def _tokenizer_spans(self, ids: NDArray[Any], lengths: NDArray[np.int64], text: bytes) -> Spans:
        encoding = self._tokenizer.encode(text.decode(), add_special_tokens=False)
        places = _byte_offsets(text)
        same = _common_length(ids.tolist(), encoding.ids)
        chars = np.array(encoding.offsets[:same], np.int64).reshape(same, 2)
        # A single-byte token may have width 0 in characters: it spans its whole character.
        narrow = (chars[:, 0] == chars[:, 1]) & (lengths[:same] > 0)
        last = np.minimum(chars[:, 1] + narrow, len(places) - 1)
        starts, ends = places[chars[:, 0]], places[last]
        # The end of a cut text may be tokenized differently: append the remaining tokens by their
        # lengths.
        after = np.cumsum(lengths[same:]) + (ends[-1] if same else 0)
        return _clipped(
            np.concatenate([starts, after - lengths[same:]]),
            np.concatenate([ends, after]),
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
    """Return the span finder of a stored tokenizer, one per process."""
    words = vocabulary(session, tokenizer_id)  # cached for the life of the process
    if id(words) not in _by_vocabulary:
        data = session.scalars(select(Tokenizer.json).where(Tokenizer.id == tokenizer_id)).one()
        _by_vocabulary[id(words)] = TokenPlaces(data, words)
    return _by_vocabulary[id(words)]
