"""Corpora: documents, tokenised once, and their token ids in chunks of whole documents."""

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.store.tables.base import ArrayColumns, Base, Created


class Tokenizer(Base, Created):
    """A tokenizer, stored whole (`tokenizer.json`), so that the database alone can show text."""

    __tablename__ = "tokenizer"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    vocabulary_size: Mapped[int]
    json: Mapped[bytes] = mapped_column(deferred=True)


class Corpus(Base, Created):
    """An ordered list of documents, each cut to its first `max_tokens` tokens.

    `prefix` holds at most one token id, put before every document; it is their position 0.
    A corpus whose losses were imported without text has neither tokenizer nor documents nor token
    chunks: its predictions are known by index only.
    """

    __tablename__ = "corpus"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    tokenizer_id: Mapped[int | None] = mapped_column(ForeignKey("tokenizer.id"))
    max_tokens: Mapped[int]
    prefix: Mapped[list[int]]
    chunk_predictions: Mapped[int]
    n_documents: Mapped[int]
    n_tokens: Mapped[int]
    n_predictions: Mapped[int]
    n_chunks: Mapped[int]
    provenance: Mapped[dict[str, Any]]

    tokenizer: Mapped[Tokenizer | None] = relationship()

    @property
    def has_text(self) -> bool:
        """Whether there are documents behind the predictions."""
        return self.tokenizer_id is not None


class Document(Base):
    """One document; its predictions are `first_prediction` … `+ n_predictions - 1`."""

    __tablename__ = "document"

    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str]
    source: Mapped[str]
    license: Mapped[str]
    text: Mapped[str] = mapped_column(deferred=True)
    n_tokens: Mapped[int]
    n_predictions: Mapped[int]
    is_cut: Mapped[bool]
    first_prediction: Mapped[int] = mapped_column(index=True)
    chunk: Mapped[int]


class TokenChunk(Base, ArrayColumns, Created):
    """Token ids of a whole number of documents; the unit of work of every evaluation."""

    __tablename__ = "token_chunk"

    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"), primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)
    first_document: Mapped[int]
    n_documents: Mapped[int]
    first_prediction: Mapped[int]
    n_predictions: Mapped[int]
