"""Corpora and their documents."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.corpora.views import CorpusRow, DocumentPage, DocumentRow, DocumentView, SourceRow
from backend.errors import NotFoundError
from backend.read.paging import check_limit, parse_cursor
from backend.read.reader import NO_TEXT_REASON, open_reader
from backend.read.values import format_utc
from backend.store.database import Store
from backend.store.lookup import corpus_named
from backend.store.memo import memoize_by_version
from backend.store.tables import Corpus, Document

MAX_DOCUMENTS = 500


def _sources(session: Session, corpus: Corpus) -> tuple[SourceRow, ...]:
    rows = session.execute(
        select(Document.source, Document.license, func.count())
        .where(Document.corpus_id == corpus.id)
        .group_by(Document.source, Document.license)
        .order_by(func.count().desc(), Document.source)
        .limit(50)
    )
    return tuple(SourceRow(source, license_, count) for source, license_, count in rows)


def _row(session: Session, corpus: Corpus) -> CorpusRow:
    tokenizer = corpus.tokenizer
    return CorpusRow(
        id=corpus.name,
        key=corpus.key,
        n_documents=corpus.n_documents,
        n_tokens=corpus.n_tokens,
        n_predictions=corpus.n_predictions,
        max_tokens=corpus.max_tokens,
        prefix=tuple(corpus.prefix),
        has_text=corpus.has_text,
        tokenizer_key=tokenizer.key if tokenizer else None,
        vocabulary_size=tokenizer.vocabulary_size if tokenizer else None,
        sources=_sources(session, corpus),
        created_at=format_utc(corpus.created_at),
    )


def corpus_rows(session: Session) -> tuple[CorpusRow, ...]:
    """Return all corpora, oldest first."""
    return tuple(_row(session, c) for c in session.scalars(select(Corpus).order_by(Corpus.id)))


def list_corpora(store: Store) -> tuple[CorpusRow, ...]:
    """Return all corpora, oldest first."""

    def load() -> tuple[CorpusRow, ...]:
        with store.session() as session:
            return corpus_rows(session)

    return memoize_by_version(store, "corpora", load)


def corpus(store: Store, name: str) -> CorpusRow:
    """Return one corpus.

    Raises:
        NotFoundError: there is none of that name.
    """
    with store.session() as session:
        return _row(session, corpus_named(session, name))


def list_documents(
    store: Store, corpus: str, *, cursor: str | None, limit: int, source: str | None
) -> DocumentPage:
    """Return a page of documents, in order, of one source if `source` is given.

    Raises:
        NotFoundError: there is no such corpus.
        InvalidInputError: a bad cursor or limit.
    """
    offset = parse_cursor(cursor)
    check_limit(limit, MAX_DOCUMENTS)
    with store.session() as session:
        row = corpus_named(session, corpus)
        matching = select(Document).where(Document.corpus_id == row.id)
        if source is not None:
            matching = matching.where(Document.source == source)
        total = session.scalar(select(func.count()).select_from(matching.subquery())) or 0
        rows = session.scalars(matching.order_by(Document.index).offset(offset).limit(limit))
        documents = tuple(
            DocumentRow(
                index=d.index,
                id=d.external_id,
                source=d.source,
                license=d.license,
                n_tokens=d.n_tokens,
                first_prediction=d.first_prediction if d.n_predictions else None,
            )
            for d in rows
        )
    end = offset + limit
    return DocumentPage(documents, total, str(end) if end < total else None)


def document_row(session: Session, corpus: Corpus, index: int) -> Document:
    """Return one document.

    Raises:
        NotFoundError: the corpus has no such document, or no text.
    """
    row = session.get(Document, (corpus.id, index))
    if row is None:
        remedy = f"Its documents are 0 to {corpus.n_documents - 1}"
        raise NotFoundError(
            f"corpus {corpus.name} has no document {index}",
            remedy if corpus.has_text else NO_TEXT_REASON,
        )
    return row


def document(store: Store, corpus: str, index: int) -> DocumentView:
    """Return a document with its tokens, without values (see `heat`).

    Raises:
        NotFoundError: there is no such corpus or document.
    """
    with store.session() as session:
        corpus_row = corpus_named(session, corpus)
        row = document_row(session, corpus_row, index)
        reader = open_reader(store, session, corpus_row)
    return DocumentView(
        corpus=corpus,
        index=index,
        id=row.external_id,
        source=row.source,
        license=row.license,
        n_tokens=row.n_tokens,
        is_cut=row.is_cut,
        tokens=reader.token_values(index, 0, row.n_tokens),
        first_prediction=reader.first_prediction(index),
        previous=index - 1 if index else None,
        next=index + 1 if index + 1 < corpus_row.n_documents else None,
    )
