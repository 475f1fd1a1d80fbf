"""Offsets of documents in a corpus: where a prediction is.

A document of n tokens has n - 1 predictions, one for each of its positions 1 to n - 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Place:
    """Place of a prediction: it predicts the token at `position` of document `document`."""

    document: int
    position: int


@dataclass(frozen=True)
class Places:
    """Places of several predictions, each array of shape (predictions,).

    `tokens` are the indexes of the predicted tokens among all tokens of the corpus.
    """

    documents: NDArray[np.int64]
    positions: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class DocumentOffsets:
    """Index of every document's first token and first prediction, each (documents + 1,)."""

    tokens: NDArray[np.int64]
    predictions: NDArray[np.int64]

    @classmethod
    def from_lengths(cls, n_tokens: Sequence[int]) -> Self:
        """Return the offsets of documents with these numbers of tokens."""
        lengths = np.array(n_tokens, np.int64)
        counts = (lengths, np.maximum(lengths - 1, 0))
        return cls(*(np.concatenate([[0], np.cumsum(count)]).astype(np.int64) for count in counts))

    def locate(self, predictions: NDArray[np.int64]) -> Places:
        """Return the places of predictions, which must be in the corpus."""
        documents = np.searchsorted(self.predictions, predictions, side="right") - 1
        positions = predictions - self.predictions[documents] + 1
        return Places(documents, positions, self.tokens[documents] + positions)

    def token_range(self, document: int) -> slice:
        """Return the slice of a document's tokens."""
        return slice(*self.tokens[document : document + 2].tolist())

    def prediction_range(self, document: int) -> slice:
        """Return the slice of a document's predictions."""
        return slice(*self.predictions[document : document + 2].tolist())
