"""Predictions by their answer token, with one table lookup per prediction.

A pattern is tried once on each entry of the vocabulary; the resulting table, indexed by token id,
then serves all predictions.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.read.reader import Reader
from backend.read.tokens import Vocabulary
from backend.search.regexes import check_text, compile_pattern
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store

MAX_TOKEN_CHARACTERS = 1_000
_BLOCK = 1 << 18
_DOCUMENTS = 4_096
_MAX_TABLES = 64


@dataclass(frozen=True)
class Deadline:
    """A time limit of `seconds`: no more work starts after the time `at` (of `monotonic`)."""

    at: float
    seconds: float

    def is_over(self) -> bool:
        """Return whether the time limit is reached."""
        return monotonic() >= self.at

    def reason(self, progress: str) -> str:
        """Return why a result is incomplete; `progress` is how far the search got."""
        return f"the time limit of {self.seconds:g} s was reached: {progress}"


def target_ids(store: Store, reader: Reader) -> NDArray[Any]:
    """Return the answer's token id of every prediction, memory-mapped (uint16 if ids fit)."""

    def fill(array: NDArray[Any]) -> None:
        for first in range(0, len(reader.offsets.tokens) - 1, _DOCUMENTS):
            last = min(first + _DOCUMENTS, len(reader.offsets.tokens) - 1)
            starts = reader.offsets.tokens[first : last + 1]
            tokens = reader.tokens[starts[0] : starts[-1]]
            not_predicted = starts[:-1][np.diff(starts) > 0] - starts[0]
            array[reader.offsets.predictions[first] : reader.offsets.predictions[last]] = np.delete(
                tokens, not_predicted
            )

    dtype = "uint16" if len(reader.vocabulary.bytes) <= 1 << 16 else "uint32"
    name = cache_name("targets", reader.corpus.key)
    return memory_map(store, name, (reader.corpus.n_predictions,), dtype, fill)


def _token_ids(vocabulary: Vocabulary, token: str) -> list[int]:
    check_text(token, MAX_TOKEN_CHARACTERS, "token")
    size = len(vocabulary.bytes)
    number = token[1:]
    if token[0] == "#" and number.isascii() and number.isdigit():
        if len(number) > 9 or int(number) >= size:
            raise InvalidInputError(
                f"token {token} is not in the tokenizer's 0 … {size - 1}",
                "Give an id of the tokenizer; for this very text use token_pattern",
                "token",
            )
        return [int(number)]
    text = token.encode()
    ids = [i for i, entry in enumerate(vocabulary.bytes) if entry == text]
    if not ids:
        also = f"{' ' + token!r} is one. " if b" " + text in vocabulary.bytes else ""
        raise InvalidInputError(
            f"no token of this corpus is exactly {token!r}",
            f"{also}Spaces count. For a part of a token use token_pattern, for longer text, text",
            "token",
        )
    return ids


_tables: dict[tuple[Vocabulary, str], NDArray[np.bool_]] = {}


def _pattern_table(
    vocabulary: Vocabulary, pattern: str, deadline: Deadline
) -> tuple[NDArray[np.bool_], str | None]:
    """Return (whether the text of each token matches, why some were not tried).

    The last entry is for all ids beyond the vocabulary.
    """
    table = _tables.get((vocabulary, pattern))
    if table is not None:
        return table, None
    pattern_search = compile_pattern(pattern, "token_pattern")
    table = np.zeros(len(vocabulary.bytes) + 1, np.bool_)
    for token_id in range(len(vocabulary.bytes)):
        if deadline.is_over():
            progress = f"{token_id:,} of {len(vocabulary.bytes):,} vocabulary entries were tried"
            return table, deadline.reason(progress)
        table[token_id] = pattern_search.matches(vocabulary.text(token_id).encode())
    if len(_tables) >= _MAX_TABLES:
        _tables.pop(next(iter(_tables)), None)
    _tables[vocabulary, pattern] = table
    return table, None


def _look_up(table: NDArray[np.bool_], targets: NDArray[Any]) -> NDArray[np.bool_]:
    mask = np.empty(len(targets), np.bool_)
    for first in range(0, len(targets), _BLOCK):
        block = targets[first : first + _BLOCK]
        # clip maps ids beyond the table to its last entry, without a copy for a bounds check.
        np.take(table, block, out=mask[first : first + len(block)], mode="clip")
    return mask


def token_mask(
    store: Store, reader: Reader, token: str | None, pattern: str | None, deadline: Deadline
) -> tuple[NDArray[np.bool_], str | None]:
    """Return (which predictions have the answer token, why some were not tried).

    `token` is its text, or `#` and its id; `pattern` matches anywhere in its text; None for any.

    Raises:
        InvalidInputError: an unknown token or an invalid pattern.
    """
    vocabulary = reader.vocabulary
    tables, truncated = [], None
    if token is not None:
        is_token = np.zeros(len(vocabulary.bytes) + 1, np.bool_)
        is_token[_token_ids(vocabulary, token)] = True
        tables.append(is_token)
    if pattern is not None:
        table, truncated = _pattern_table(vocabulary, pattern, deadline)
        tables.append(table)
    if not tables:
        return np.ones(reader.corpus.n_predictions, np.bool_), None
    return _look_up(np.logical_and.reduce(tables), target_ids(store, reader)), truncated
