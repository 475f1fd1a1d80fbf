"""What several queries share: a corpus's tokens, mapped, and rows turned into views."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.read.documents import read_chunk
from backend.read.tokens import Vocabulary, vocabulary
from backend.read.views import Token, TokenValue
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import Corpus, Document

NO_TEXT_REASON = "It was imported without text: its predictions are known by index only"


def check_prediction(corpus: Corpus, prediction: int) -> None:
    """Refuse an index that a corpus does not have.

    Raises:
        NotFoundError: it has no such prediction.
    """
    if not 0 <= prediction < corpus.n_predictions:
        raise NotFoundError(
            f"corpus {corpus.name} has no prediction {prediction}",
            f"Its predictions are 0 to {corpus.n_predictions - 1}",
        )


@dataclass(frozen=True)
class Place:
    """Where a prediction is: its token is `position` of document `document`."""

    document: int
    position: int


class Reader:
    """Tokens of one corpus from memory-mapped caches.

    `first_tokens[d]` is the offset of document d's first token; `first_predictions[d]` the index of
    its first prediction. Both have one entry more than there are documents.
    """

    def __init__(self, store: Store, session: Session, corpus: Corpus, tokenizer_id: int) -> None:
        self.corpus = corpus
        self.vocabulary: Vocabulary = vocabulary(session, tokenizer_id)
        self.tokens = self._tokens(store, session)
        self.first_tokens, self.first_predictions = self._offsets(store, session)

    def _tokens(self, store: Store, session: Session) -> NDArray[np.uint32]:
        def fill(array: NDArray[Any]) -> None:
            first = 0
            for chunk in range(self.corpus.n_chunks):
                for document in read_chunk(session, self.corpus, chunk).documents:
                    array[first : first + len(document)] = document
                    first += len(document)

        name = cache_name("tokens", self.corpus.key)
        return memory_map(store, name, (self.corpus.n_tokens,), "uint32", fill)

    def _offsets(self, store: Store, session: Session) -> NDArray[np.int64]:
        def fill(array: NDArray[Any]) -> None:
            lengths = session.scalars(
                select(Document.n_tokens)
                .where(Document.corpus_id == self.corpus.id)
                .order_by(Document.index)
            ).all()
            array[0, 1:] = np.cumsum(lengths)
            array[1, 1:] = np.cumsum(np.maximum(np.array(lengths) - 1, 0))

        name = cache_name("offsets", self.corpus.key)
        return memory_map(store, name, (2, self.corpus.n_documents + 1), "int64", fill)

    def token_ids(self, document: int) -> list[int]:
        """Return the token ids of one document."""
        tokens: list[int] = self.tokens[
            self.first_tokens[document] : self.first_tokens[document + 1]
        ].tolist()
        return tokens

    def locate(self, prediction: int) -> Place:
        """Return where a prediction is.

        Raises:
            NotFoundError: the corpus has no such prediction.
        """
        check_prediction(self.corpus, prediction)
        document = int(np.searchsorted(self.first_predictions, prediction, side="right")) - 1
        return Place(document, prediction - int(self.first_predictions[document]) + 1)

    def first_prediction(self, document: int) -> int | None:
        """Return the index of a document's first prediction, None if it has none."""
        first, last = self.first_predictions[document : document + 2].tolist()
        return first if last > first else None

    def token_values(
        self, document: int, first: int, last: int, losses: NDArray[np.float16] | None = None
    ) -> tuple[TokenValue, ...]:
        """Return tokens first..last (exclusive) of a document with their predictions.

        `losses` holds one value a prediction of the corpus; None leaves values out.
        """
        tokens = self.vocabulary.window(self.token_ids(document), first, last)
        start = int(self.first_predictions[document])
        return tuple(
            _token_value(token, position, start, losses)
            for position, token in enumerate(tokens, start=first)
        )

    def token(self, token_id: int) -> Token:
        """Return one token out of context."""
        return self.vocabulary.token(token_id)

    def token_or_none(self, token_id: int | None) -> Token | None:
        """Return one token out of context, None for none."""
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
    """Return the reader of a corpus, opened once a process and data directory.

    Raises:
        NotFoundError: the corpus was imported without text.
    """
    found = find_reader(store, session, corpus)
    if found is None:
        raise NotFoundError(f"corpus {corpus.name} has no text", NO_TEXT_REASON)
    return found


def find_reader(store: Store, session: Session, corpus: Corpus) -> Reader | None:
    """Return the reader of a corpus, None if it was imported without text."""
    if corpus.tokenizer_id is None:
        return None
    key = f"{store.settings.cache_dir.resolve()}|{corpus.key}"
    if key not in _readers:
        _readers[key] = Reader(store, session, corpus, corpus.tokenizer_id)
    return _readers[key]
