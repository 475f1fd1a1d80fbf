"""Predictions by their answer token: one lookup a prediction, whatever is asked for.

A pattern is tried once on every entry of the vocabulary; the table of its answers, indexed by
token id, then serves all predictions.
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
    """A moment (of `monotonic`) after which no more work is begun; `seconds` were allowed."""

    at: float
    seconds: float

    def is_over(self) -> bool:
        """Return whether the time is up."""
        return monotonic() >= self.at

    def reason(self, done: str) -> str:
        """Return why a result is not whole; `done` says how far it got."""
        return f"the time limit of {self.seconds:g} s was reached: {done}"


def target_ids(store: Store, read: Reader) -> NDArray[Any]:
    """Return the answer's token id of every prediction, memory-mapped (uint16 if ids fit)."""

    def fill(array: NDArray[Any]) -> None:
        for first in range(0, len(read.first_tokens) - 1, _DOCUMENTS):
            last = min(first + _DOCUMENTS, len(read.first_tokens) - 1)
            starts = read.first_tokens[first : last + 1]
            tokens = read.tokens[starts[0] : starts[-1]]
            not_predicted = starts[:-1][np.diff(starts) > 0] - starts[0]
            array[read.first_predictions[first] : read.first_predictions[last]] = np.delete(
                tokens, not_predicted
            )

    dtype = "uint16" if len(read.vocabulary.bytes) <= 1 << 16 else "uint32"
    name = cache_name("targets", read.corpus.key)
    return memory_map(store, name, (read.corpus.n_predictions,), dtype, fill)


def _token_ids(words: Vocabulary, token: str) -> list[int]:
    check_text(token, MAX_TOKEN_CHARACTERS, "token")
    size = len(words.bytes)
    number = token[1:]
    if token[0] == "#" and number.isascii() and number.isdigit():
        if len(number) > 9 or int(number) >= size:
            raise InvalidInputError(
                f"token {token} is not in the tokenizer's 0 … {size - 1}",
                "Give an id of the tokenizer; for this text itself use token_pattern",
                "token",
            )
        return [int(number)]
    wanted = token.encode()
    ids = [i for i, held in enumerate(words.bytes) if held == wanted]
    if not ids:
        also = f"{' ' + token!r} is one. " if b" " + wanted in words.bytes else ""
        raise InvalidInputError(
            f"no token of this corpus is exactly {token!r}",
            f"{also}Spaces count. For a part of a token use token_pattern, for longer text, text",
            "token",
        )
    return ids


_tables: dict[tuple[Vocabulary, str], NDArray[np.bool_]] = {}


def _pattern_table(
    words: Vocabulary, pattern: str, deadline: Deadline
) -> tuple[NDArray[np.bool_], str | None]:
    """Return (whether each token's own text matches, why some were not tried).

    The last entry stands for every id that the vocabulary does not have.
    """
    table = _tables.get((words, pattern))
    if table is not None:
        return table, None
    search = compile_pattern(pattern, "token_pattern")
    table = np.zeros(len(words.bytes) + 1, np.bool_)
    for token_id in range(len(words.bytes)):
        if deadline.is_over():
            tried = f"{token_id:,} of {len(words.bytes):,} vocabulary entries were tried"
            return table, deadline.reason(tried)
        table[token_id] = search.is_in(words.text(token_id).encode())
    if len(_tables) >= _MAX_TABLES:
        _tables.pop(next(iter(_tables)), None)
    _tables[words, pattern] = table
    return table, None


def _looked_up(table: NDArray[np.bool_], targets: NDArray[Any]) -> NDArray[np.bool_]:
    mask = np.empty(len(targets), np.bool_)
    for first in range(0, len(targets), _BLOCK):
        block = targets[first : first + _BLOCK]
        # clip: an id beyond the table is its last entry, and nothing is copied to be checked.
        np.take(table, block, out=mask[first : first + len(block)], mode="clip")
    return mask


def token_mask(
    store: Store, read: Reader, token: str | None, pattern: str | None, deadline: Deadline
) -> tuple[NDArray[np.bool_], str | None]:
    """Return (which predictions have the answer asked for, why some were left out).

    Args:
        store: holds the caches.
        read: the corpus.
        token: the answer, exactly: its text, or `#` and its id; None for any.
        pattern: found anywhere in the answer's own text; None for any.
        deadline: when to stop trying vocabulary entries.

    Raises:
        InvalidInputError: no such token, or a pattern that cannot be used.
    """
    words = read.vocabulary
    tables, truncated = [], None
    if token is not None:
        exactly = np.zeros(len(words.bytes) + 1, np.bool_)
        exactly[_token_ids(words, token)] = True
        tables.append(exactly)
    if pattern is not None:
        table, truncated = _pattern_table(words, pattern, deadline)
        tables.append(table)
    if not tables:
        return np.ones(read.corpus.n_predictions, np.bool_), None
    return _looked_up(np.logical_and.reduce(tables), target_ids(store, read)), truncated
