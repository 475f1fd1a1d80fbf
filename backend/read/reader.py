"""Text of a corpus: from a prediction's index to its document, position and tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.read.document_offsets import DocumentOffsets, Place, Places
from backend.read.documents import read_chunk
from backend.read.tokens import Vocabulary, vocabulary
from backend.read.views import Token, TokenValue
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import Corpus, Document

NO_TEXT_REASON = "It was imported without text: its predictions are known by index only"


def check_prediction(corpus: Corpus, prediction: int) -> None:
    """Check that a corpus has a prediction of this index.

    Raises:
        NotFoundError: it has none.
    """
    if not 0 <= prediction < corpus.n_predictions:
        raise NotFoundError(
            f"corpus {corpus.name} has no prediction {prediction}",
            f"Its predictions are 0 to {corpus.n_predictions - 1}",
        )


@dataclass(frozen=True)
class TokenWindow:
    """Tokens around a prediction: `tokens[answer]` is the predicted one."""

    place: Place
    tokens: tuple[TokenValue, ...]
    answer: int


class Reader:
    """Tokens of one corpus, memory-mapped, with the offsets of its documents."""

    def __init__(self, store: Store, session: Session, corpus: Corpus, tokenizer_id: int) -> None:
        self.corpus = corpus
        self.vocabulary: Vocabulary = vocabulary(session, tokenizer_id)
        self.tokens = self._map_tokens(store, session)
        self.offsets = DocumentOffsets(*self._map_offsets(store, session))

    def _map_tokens(self, store: Store, session: Session) -> NDArray[np.uint32]:
        def fill(array: NDArray[Any]) -> None:
            first = 0
            for chunk in range(self.corpus.n_chunks):
                for document in read_chunk(session, self.corpus, chunk).documents:
                    array[first : first + len(document)] = document
                    first += len(document)

        name = cache_name("tokens", self.corpus.key)
        return memory_map(store, name, (self.corpus.n_tokens,), "uint32", fill)

    def _map_offsets(self, store: Store, session: Session) -> NDArray[np.int64]:
        def fill(array: NDArray[Any]) -> None:
            lengths = session.scalars(
                select(Document.n_tokens)
                .where(Document.corpus_id == self.corpus.id)
                .order_by(Document.index)
            ).all()
            offsets = DocumentOffsets.from_lengths(lengths)
            array[0], array[1] = offsets.tokens, offsets.predictions

        name = cache_name("offsets", self.corpus.key)
        return memory_map(store, name, (2, self.corpus.n_documents + 1), "int64", fill)

    def token_ids(self, document: int) -> list[int]:
        """Return the token ids of a document."""
        tokens: list[int] = self.tokens[self.offsets.token_range(document)].tolist()
        return tokens

    def locate(self, prediction: int) -> Place:
        """Return the place of a prediction.

        Raises:
            NotFoundError: the corpus has no such prediction.
        """
        check_prediction(self.corpus, prediction)
        places = self.locate_many(np.array([prediction]))
        return Place(int(places.documents[0]), int(places.positions[0]))

    def locate_many(self, predictions: NDArray[np.int64]) -> Places:
        """Return the places of predictions, which must be in the corpus."""
        return self.offsets.locate(predictions)

    def first_prediction(self, document: int) -> int | None:
        """Return the index of a document's first prediction, None if it has none."""
        predictions = self.offsets.prediction_range(document)
        return predictions.start if predictions.stop > predictions.start else None

    def token_values(
        self, document: int, first: int, last: int, losses: NDArray[np.float16] | None = None
    ) -> tuple[TokenValue, ...]:
        """Return tokens first..last (exclusive) of a document with their predictions.

        `losses` has one value for each prediction of the corpus; None leaves values out.
        """
        tokens = self.vocabulary.window(self.token_ids(document), first, last)
        start = self.offsets.prediction_range(document).start
        return tuple(
            _token_value(token, position, start, losses)
            for position, token in enumerate(tokens, start=first)
        )

    def window(
        self,
        prediction: int,
        n_before: int,
        n_after: int = 0,
        losses: NDArray[np.float16] | None = None,
    ) -> TokenWindow:
        """Return up to `n_before` tokens before a prediction, its answer and `n_after` after it.

        Raises:
            NotFoundError: the corpus has no such prediction.
        """
        place = self.locate(prediction)
        tokens = self.offsets.token_range(place.document)
        first = max(0, place.position - n_before)
        last = min(tokens.stop - tokens.start, place.position + 1 + n_after)
        values = self.token_values(place.document, first, last, losses)
        return TokenWindow(place, values, place.position - first)

    def token(self, token_id: int) -> Token:
        """Return a token without its context."""
        return self.vocabulary.token(token_id)

    def token_or_none(self, token_id: int | None) -> Token | None:
        """Return a token without its context, None for None."""
        return None if token_id is None else self.token(token_id)


def _token_value(
    token: Token, position: int, start: int, losses: NDArray[np.float16] | None
) -> TokenValue:
    if position == 0:
        return TokenValue(token, 0, None, None)
    prediction = start + position - 1
    value = None if losses is None else float(losses[prediction])
    return TokenValue(token, position, prediction, value)


_readers: dict[str, Reader] = {}


def open_reader(store: Store, session: Session, corpus: Corpus) -> Reader:
    """Return the reader of a corpus, one for each process and data directory.

    Raises:
        NotFoundError: the corpus was imported without text.
    """
    reader = find_reader(store, session, corpus)
    if reader is None:
        raise NotFoundError(f"corpus {corpus.name} has no text", NO_TEXT_REASON)
    return reader


def find_reader(store: Store, session: Session, corpus: Corpus) -> Reader | None:
    """Return the reader of a corpus, None if it was imported without text."""
    if corpus.tokenizer_id is None:
        return None
    key = f"{store.settings.cache_dir.resolve()}|{corpus.key}"
    if key not in _readers:
        _readers[key] = Reader(store, session, corpus, corpus.tokenizer_id)
    return _readers[key]
