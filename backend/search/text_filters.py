"""Predictions by answer token, text, source and document.

An occurrence of a text or a pattern belongs to the predictions whose target token overlaps its last
character, so the model predicts the end of it; tokens that share the character all overlap it.
Occurrences of a text may overlap each other. Matches of a pattern are leftmost first and do not
overlap, and an empty match is ignored. The prefix token has no text, and the first token of a
document has no prediction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.read.reader import Reader, open_reader
from backend.read.token_spans import TokenPlaces, token_places
from backend.search.regexes import Pattern, check_text, compile_pattern
from backend.search.token_filters import Deadline, token_mask
from backend.store.database import Store
from backend.store.lookup import tokenizer_of
from backend.store.tables import Corpus, Document, TokenChunk

MAX_TEXT_CHARACTERS = 1_000
MAX_LISTED_SOURCES = 12


@dataclass(frozen=True)
class TextFilter:
    """Conditions on text; all of them must hold, None disables one.

    Attributes:
        text: characters of the document, case-sensitive.
        regex: RE2 syntax, over whole documents.
        token: the exact answer token: its text, or `#` and its id.
        token_pattern: RE2 syntax, matches anywhere in the text of the answer token.
        source: exact source of the document, or a prefix of it with `*` at the end.
        document: index of the document in the corpus.
    """

    text: str | None = None
    regex: str | None = None
    token: str | None = None
    token_pattern: str | None = None
    source: str | None = None
    document: int | None = None


@dataclass(frozen=True)
class TextMatches:
    """Which predictions match, None for no condition; `truncated` is why some were not searched."""

    mask: NDArray[np.bool_] | None
    truncated: str | None = None


def text_mask(
    store: Store, session: Session, corpus: Corpus, text_filter: TextFilter, deadline_s: float
) -> TextMatches:
    """Return which predictions of a corpus match a text filter.

    Predictions that were not searched within `deadline_s` seconds do not match, and `truncated`
    reports how far the search got.

    Raises:
        InvalidInputError: a filter that cannot be used, by its name.
    """
    if text_filter == TextFilter():
        return TextMatches(None)
    _check_has_text(corpus, text_filter)
    deadline = Deadline(monotonic() + deadline_s, deadline_s)
    searches = _searches(text_filter)
    reader = open_reader(store, session, corpus)
    documents = _documents(session, corpus, text_filter)
    mask, truncated = token_mask(
        store, reader, text_filter.token, text_filter.token_pattern, deadline
    )
    if documents is not None:
        mask &= np.repeat(documents, np.diff(reader.offsets.predictions))
    for occurrences in searches:
        places = token_places(session, tokenizer_of(corpus).id)
        matches, reason = _Scan(reader, places, mask).search(session, occurrences, deadline)
        mask, truncated = matches, truncated or reason
    return TextMatches(mask, truncated)


def _check_has_text(corpus: Corpus, text_filter: TextFilter) -> None:
    if not corpus.has_text:
        name = next(name for name, value in vars(text_filter).items() if value is not None)
        raise InvalidInputError(
            f"corpus {corpus.name} was imported without text, so {name} cannot be searched",
            "Leave it out, or choose another corpus",
            name,
        )


class _Text:
    """Occurrences of a text, including overlapping ones."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()

    def ends(self, text: bytes, deadline: Deadline) -> list[int] | None:
        """Return the byte after each occurrence, None at the time limit."""
        if deadline.is_over():
            return None
        size, ends = len(self._text), []
        start = text.find(self._text)
        while start >= 0:
            ends.append(start + size)
            # The next byte will do: UTF-8 has no character that begins inside another.
            start = text.find(self._text, start + 1)
        return ends


class _Regex:
    """Non-empty matches of a pattern."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def ends(self, text: bytes, deadline: Deadline) -> list[int] | None:
        """Return the byte after each occurrence, None at the time limit."""
        if deadline.is_over():
            return None
        ends = []
        for first, last in self._pattern.spans(text):
            # A single match may have read the whole rest of a long document.
            if deadline.is_over():
                return None
            if last > first:
                ends.append(last)
        return ends


def _searches(text_filter: TextFilter) -> list[_Text | _Regex]:
    searches: list[_Text | _Regex] = []
    if text_filter.text is not None:
        check_text(text_filter.text, MAX_TEXT_CHARACTERS, "text")
        searches.append(_Text(text_filter.text))
    if text_filter.regex is not None:
        searches.append(_Regex(compile_pattern(text_filter.regex, "regex")))
    return searches


def _documents(
    session: Session, corpus: Corpus, text_filter: TextFilter
) -> NDArray[np.bool_] | None:
    """Return which documents match the source and the index, None for no condition."""
    if text_filter.source is None and text_filter.document is None:
        return None
    mask = np.ones(corpus.n_documents, np.bool_)
    if text_filter.document is not None:
        if not 0 <= text_filter.document < corpus.n_documents:
            raise InvalidInputError(
                f"corpus {corpus.name} has no document {text_filter.document}",
                f"Its documents are 0 to {corpus.n_documents - 1}",
                "document",
            )
        mask[:] = False
        mask[text_filter.document] = True
    if text_filter.source is not None:
        of_source = np.zeros_like(mask)
        of_source[_indexes_of_source(session, corpus, text_filter.source)] = True
        mask &= of_source
    return mask


def _indexes_of_source(session: Session, corpus: Corpus, source: str) -> Sequence[int]:
    check_text(source, MAX_TEXT_CHARACTERS, "source")
    prefix = source.removesuffix("*")
    # LIKE ignores case on SQLite but not on PostgreSQL.
    column: Any = Document.source
    if prefix != source:
        column = func.substr(Document.source, 1, len(prefix))
    query = select(Document.index).where(Document.corpus_id == corpus.id, column == prefix)
    indexes = session.scalars(query).all()
    if not indexes:
        sources = session.scalars(
            select(Document.source)
            .where(Document.corpus_id == corpus.id)
            .distinct()
            .order_by(Document.source)
            .limit(MAX_LISTED_SOURCES)
        )
        raise InvalidInputError(
            f"no document of corpus {corpus.name} has source {source!r}",
            f"Choose from {', '.join(sources)}; a * at the end matches any ending",
            "source",
        )
    return indexes


class _Scan:
    """A search of the documents with predictions that match the other filters."""

    def __init__(self, reader: Reader, places: TokenPlaces, mask: NDArray[np.bool_]) -> None:
        self._reader = reader
        self._places = places
        self._mask = mask
        self._has_match = np.diff(reader.offsets.predictions) > 0
        starts = reader.offsets.predictions[:-1][self._has_match]
        self._has_match[self._has_match] = np.logical_or.reduceat(mask, starts)

    def search(
        self, session: Session, occurrences: _Text | _Regex, deadline: Deadline
    ) -> tuple[NDArray[np.bool_], str | None]:
        """Return (mask of the matches, why some documents were not searched)."""
        matches = np.zeros_like(self._mask)
        n_documents = int(self._has_match.sum())
        for n_searched, (document, text) in enumerate(self._texts(session)):
            ends = occurrences.ends(text, deadline)
            if ends is None:
                progress = f"{n_searched:,} of {n_documents:,} documents were searched"
                return matches, deadline.reason(progress)
            self._mark(matches, document, text, np.array(ends, np.int64))
        return matches, None

    def _texts(self, session: Session) -> Iterator[tuple[int, bytes]]:
        """Yield (index, UTF-8) of the documents to search, one chunk in memory at a time."""
        corpus = self._reader.corpus
        chunks = session.execute(
            select(TokenChunk.first_document, TokenChunk.n_documents)
            .where(TokenChunk.corpus_id == corpus.id)
            .order_by(TokenChunk.chunk)
        ).all()
        for first, count in chunks:
            documents = np.flatnonzero(self._has_match[first : first + count]) + first
            if len(documents):
                yield from self._chunk_texts(session, int(documents[0]), int(documents[-1]))

    def _chunk_texts(self, session: Session, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        rows = session.execute(
            select(Document.index, Document.text)
            .where(
                Document.corpus_id == self._reader.corpus.id, Document.index.between(first, last)
            )
            .order_by(Document.index)
        ).all()
        return ((index, text.encode()) for index, text in rows if self._has_match[index])

    def _mark(
        self, matches: NDArray[np.bool_], document: int, text: bytes, ends: NDArray[np.int64]
    ) -> None:
        if not len(ends):
            return
        reader = self._reader
        prefix = len(reader.corpus.prefix)
        ids = reader.tokens[reader.offsets.token_range(document)][prefix:]
        spans = self._places.spans(ids, text)
        tokens = spans.overlapping(*_last_characters(text, ends))
        predictions = reader.offsets.prediction_range(document)
        # Position p of the document is prediction start + p - 1; position 0 is not predicted.
        is_target = tokens if prefix else tokens[1:]
        matches[predictions] = self._mask[predictions] & is_target


def _last_characters(
    text: bytes, ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (first byte, last byte + 1) of the characters that contain the bytes before `ends`."""
    continues = np.append((np.frombuffer(text, np.uint8) & 0xC0) == 0x80, False)
    first, last = ends - 1, ends.copy()
    for _ in range(3):  # a character has at most three bytes after its first
        first -= continues[first]
        last += continues[last]
    return first, last
