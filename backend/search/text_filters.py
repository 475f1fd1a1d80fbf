"""Which predictions have an answer, a text, a source or a document that a person asks for.

A hit of a text or a regular expression belongs to the predictions whose target token overlaps the
hit's last character: what the model predicts is the end of what was found. All tokens that share
that character overlap it. Occurrences of a text may overlap each other; matches of a regular
expression are taken leftmost first and do not; an empty match has no last character, and counts
for nothing. The prefix token has no text, and the first token of a document no prediction.
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
MAX_SOURCES_NAMED = 12


@dataclass(frozen=True)
class TextFilter:
    """What to look for; all that is given must hold, None leaves a filter out.

    Attributes:
        text: characters as documents hold them, case and all.
        regex: RE2 syntax, over whole documents.
        token: the answer token, exactly: its text, or `#` and its id.
        token_pattern: RE2 syntax, found anywhere in the answer token's own text.
        source: of the document, exactly; with a `*` at the end, the beginning of it.
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
    """Which predictions match (None: nothing was asked for); `truncated` says what was left out."""

    mask: NDArray[np.bool_] | None
    truncated: str | None = None


def text_mask(
    store: Store, session: Session, corpus: Corpus, wanted: TextFilter, deadline_s: float
) -> TextMatches:
    """Return which predictions of a corpus have all that `wanted` asks for.

    Args:
        store: holds the caches.
        session: reads the documents.
        corpus: whose predictions.
        wanted: the filters.
        deadline_s: seconds that this call may take; what was not searched by then matches not,
            and `truncated` says how far it got.

    Returns:
        A mask with one entry a prediction.

    Raises:
        InvalidInputError: a filter that cannot be used, by its name.
    """
    if wanted == TextFilter():
        return TextMatches(None)
    _check_text_is_here(corpus, wanted)
    deadline = Deadline(monotonic() + deadline_s, deadline_s)
    searches = _searches(wanted)
    read = open_reader(store, session, corpus)
    documents = _documents(session, corpus, wanted)
    mask, truncated = token_mask(store, read, wanted.token, wanted.token_pattern, deadline)
    if documents is not None:
        mask &= np.repeat(documents, np.diff(read.first_predictions))
    for search in searches:
        places = token_places(session, tokenizer_of(corpus).id)
        found, reason = _Scan(read, places, mask).searched(session, search, deadline)
        mask, truncated = found, truncated or reason
    return TextMatches(mask, truncated)


def _check_text_is_here(corpus: Corpus, wanted: TextFilter) -> None:
    if not corpus.has_text:
        name = next(name for name, value in vars(wanted).items() if value is not None)
        raise InvalidInputError(
            f"corpus {corpus.name} was imported without text: there is no {name} to look for",
            "Leave it out, or choose another corpus",
            name,
        )


class _Text:
    """Occurrences of a text, overlapping ones too."""

    def __init__(self, text: str) -> None:
        self._wanted = text.encode()

    def ends(self, text: bytes, deadline: Deadline) -> list[int] | None:
        """Return the byte after each hit, None if the time is up."""
        if deadline.is_over():
            return None
        wanted, size, ends = self._wanted, len(self._wanted), []
        at = text.find(wanted)
        while at >= 0:
            ends.append(at + size)
            # From the next byte: no character begins inside another, so none is cut.
            at = text.find(wanted, at + 1)
        return ends


class _Regex:
    """Matches of a pattern that are not empty."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern

    def ends(self, text: bytes, deadline: Deadline) -> list[int] | None:
        """Return the byte after each hit, None if the time is up."""
        if deadline.is_over():
            return None
        ends = []
        for first, last in self._pattern.spans(text):
            # Each match may have read all that is left of a long document.
            if deadline.is_over():
                return None
            if last > first:
                ends.append(last)
        return ends


def _searches(wanted: TextFilter) -> list[_Text | _Regex]:
    searches: list[_Text | _Regex] = []
    if wanted.text is not None:
        check_text(wanted.text, MAX_TEXT_CHARACTERS, "text")
        searches.append(_Text(wanted.text))
    if wanted.regex is not None:
        searches.append(_Regex(compile_pattern(wanted.regex, "regex")))
    return searches


def _documents(session: Session, corpus: Corpus, wanted: TextFilter) -> NDArray[np.bool_] | None:
    """Return which documents have the source and index asked for, None if any will do."""
    if wanted.source is None and wanted.document is None:
        return None
    mask = np.ones(corpus.n_documents, np.bool_)
    if wanted.document is not None:
        if not 0 <= wanted.document < corpus.n_documents:
            raise InvalidInputError(
                f"corpus {corpus.name} has no document {wanted.document}",
                f"Its documents are 0 to {corpus.n_documents - 1}",
                "document",
            )
        mask[:] = False
        mask[wanted.document] = True
    if wanted.source is not None:
        of_source = np.zeros_like(mask)
        of_source[_indexes_of_source(session, corpus, wanted.source)] = True
        mask &= of_source
    return mask


def _indexes_of_source(session: Session, corpus: Corpus, source: str) -> Sequence[int]:
    check_text(source, MAX_TEXT_CHARACTERS, "source")
    beginning = source.removesuffix("*")
    # LIKE would ignore case on SQLite and not on PostgreSQL.
    column: Any = Document.source
    if beginning != source:
        column = func.substr(Document.source, 1, len(beginning))
    query = select(Document.index).where(Document.corpus_id == corpus.id, column == beginning)
    indexes = session.scalars(query).all()
    if not indexes:
        known = session.scalars(
            select(Document.source)
            .where(Document.corpus_id == corpus.id)
            .distinct()
            .order_by(Document.source)
            .limit(MAX_SOURCES_NAMED)
        )
        raise InvalidInputError(
            f"no document of corpus {corpus.name} has source {source!r}",
            f"There is: {', '.join(known)}; a * at the end stands for any ending",
            "source",
        )
    return indexes


class _Scan:
    """One search over the documents that hold a prediction which the other filters left."""

    def __init__(self, read: Reader, places: TokenPlaces, mask: NDArray[np.bool_]) -> None:
        self._read = read
        self._places = places
        self._mask = mask
        self._wanted = np.diff(read.first_predictions) > 0
        starts = read.first_predictions[:-1][self._wanted]
        self._wanted[self._wanted] = np.logical_or.reduceat(mask, starts)

    def searched(
        self, session: Session, search: _Text | _Regex, deadline: Deadline
    ) -> tuple[NDArray[np.bool_], str | None]:
        """Return (the mask with only the hits left, why documents were left out)."""
        found = np.zeros_like(self._mask)
        total = int(self._wanted.sum())
        for n_searched, (document, text) in enumerate(self._texts(session)):
            ends = search.ends(text, deadline)
            if ends is None:
                reason = f"{n_searched:,} of {total:,} documents were searched"
                return found, deadline.reason(reason)
            self._mark(found, document, text, np.array(ends, np.int64))
        return found, None

    def _texts(self, session: Session) -> Iterator[tuple[int, bytes]]:
        """Yield (index, UTF-8) of the documents to search, read a chunk at a time."""
        corpus = self._read.corpus
        chunks = session.execute(
            select(TokenChunk.first_document, TokenChunk.n_documents)
            .where(TokenChunk.corpus_id == corpus.id)
            .order_by(TokenChunk.chunk)
        ).all()
        for first, count in chunks:
            wanted = np.flatnonzero(self._wanted[first : first + count]) + first
            if len(wanted):
                yield from self._chunk_texts(session, int(wanted[0]), int(wanted[-1]))

    def _chunk_texts(self, session: Session, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        rows = session.execute(
            select(Document.index, Document.text)
            .where(Document.corpus_id == self._read.corpus.id, Document.index.between(first, last))
            .order_by(Document.index)
        ).all()
        return ((index, text.encode()) for index, text in rows if self._wanted[index])

    def _mark(
        self, found: NDArray[np.bool_], document: int, text: bytes, ends: NDArray[np.int64]
    ) -> None:
        if not len(ends):
            return
        read = self._read
        prefix = len(read.corpus.prefix)
        ids = read.tokens[read.first_tokens[document] + prefix : read.first_tokens[document + 1]]
        spans = self._places.spans(ids, text)
        tokens = spans.overlapping(*_last_characters(text, ends))
        first, last = read.first_predictions[document : document + 2].tolist()
        # Position p of the document is prediction first + p - 1; position 0 is none.
        held = tokens if prefix else tokens[1:]
        found[first:last] = self._mask[first:last] & held


def _last_characters(
    text: bytes, ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (first byte, last byte + 1) of the characters that hold the bytes before `ends`."""
    continues = np.append((np.frombuffer(text, np.uint8) & 0xC0) == 0x80, False)
    first, last = ends - 1, ends.copy()
    for _ in range(3):  # a character has at most three bytes after its first
        first -= continues[first]
        last += continues[last]
    return first, last
