"""Token ids of stored documents, from their chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.store import arrays
from backend.store.tables import Corpus, Document, TokenChunk


@dataclass(frozen=True)
class DocumentChunk:
    """The documents of one chunk; `lengths` are numbers of tokens."""

    chunk: int
    first_document: int
    first_prediction: int
    n_predictions: int
    documents: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class ChunkSpan:
    """Range of the predictions of one chunk."""

    chunk: int
    first_prediction: int
    n_predictions: int


def chunk_spans(session: Session, corpus: Corpus) -> list[ChunkSpan]:
    """Return the spans of all chunks; without text all but the last have `chunk_predictions`."""
    if not corpus.has_text:
        starts = range(0, corpus.n_predictions, corpus.chunk_predictions)
        return [
            ChunkSpan(i, first, min(corpus.chunk_predictions, corpus.n_predictions - first))
            for i, first in enumerate(starts)
        ]
    rows = session.execute(
        select(TokenChunk.chunk, TokenChunk.first_prediction, TokenChunk.n_predictions)
        .where(TokenChunk.corpus_id == corpus.id)
        .order_by(TokenChunk.chunk)
    )
    return [ChunkSpan(chunk, first, count) for chunk, first, count in rows]


def _split(tokens: NDArray[Any], lengths: Sequence[int]) -> tuple[NDArray[Any], ...]:
    return tuple(np.split(tokens, np.cumsum(lengths)[:-1]))


def read_chunk(session: Session, corpus: Corpus, chunk: int) -> DocumentChunk:
    """Return the documents of one chunk."""
    row = session.scalars(
        select(TokenChunk)
        .where(TokenChunk.corpus_id == corpus.id, TokenChunk.chunk == chunk)
        .options(undefer(TokenChunk.data))
    ).one()
    lengths = session.scalars(
        select(Document.n_tokens)
        .where(Document.corpus_id == corpus.id, Document.chunk == chunk)
        .order_by(Document.index)
    ).all()
    tokens = arrays.read(row, f"tokens of corpus {corpus.name}, chunk {chunk}")
    return DocumentChunk(
        chunk=chunk,
        first_document=row.first_document,
        first_prediction=row.first_prediction,
        n_predictions=row.n_predictions,
        documents=_split(tokens, lengths),
    )


def read_all(session: Session, corpus: Corpus) -> tuple[NDArray[Any], ...]:
    """Return every document of a corpus."""
    chunks = [read_chunk(session, corpus, c) for c in range(corpus.n_chunks)]
    return tuple(document for chunk in chunks for document in chunk.documents)
