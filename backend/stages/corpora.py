"""New corpora: documents are tokenised once, cut, chunked and stored in one transaction."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from tokenizers import Tokenizer as HubTokenizer

from backend.errors import InvalidInputError
from backend.progress import Progress
from backend.read.tokens import parse_tokenizer
from backend.schemas import names
from backend.schemas.corpora import CorpusParameters
from backend.stages.documents import RawDocument, read_documents
from backend.stages.provenance import provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import bytes_key, result_key
from backend.store.tables import Corpus, Document, TokenChunk, Tokenizer

CHUNK_PREDICTIONS = 65_536
_BATCH = 256
_BATCH_CHARACTERS = 4 << 20


class CorpusSpec(CorpusParameters):
    """Parameters of a corpus, and the files on this machine that it is made from.

    A chunk closes at the first document end at or after `chunk_predictions`.
    """

    files: tuple[Path, ...]
    tokenizer: Path
    chunk_predictions: int = CHUNK_PREDICTIONS


@dataclass(frozen=True)
class TokenisedDocument:
    """A stored document; `text` and `ids` are cut to the length of the corpus, prefix included."""

    raw: RawDocument
    text: str
    ids: NDArray[Any]
    is_cut: bool


def _check(spec: CorpusSpec, tokenizer: HubTokenizer) -> None:
    names.check(spec.name, "corpus name")
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    for token in spec.prefix:
        if not 0 <= token < size:
            raise InvalidInputError(
                f"prefix token {token} is not in the tokenizer's 0 … {size - 1}",
                "Give ids of the tokenizer",
                "prefix",
            )


def _batches(documents: Iterator[RawDocument]) -> Iterator[list[RawDocument]]:
    batch: list[RawDocument] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) == _BATCH or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _tokenised(
    documents: Iterator[RawDocument], tokenizer: HubTokenizer, spec: CorpusSpec
) -> Iterator[TokenisedDocument]:
    dtype = np.uint16 if tokenizer.get_vocab_size(with_added_tokens=True) <= 1 << 16 else np.uint32
    room = spec.max_tokens - len(spec.prefix)
    for batch in _batches(documents):
        encodings = tokenizer.encode_batch([d.text for d in batch], add_special_tokens=False)
        for raw, encoding in zip(batch, encodings, strict=True):
            is_cut = len(encoding.ids) > room
            text = raw.text[: encoding.offsets[room - 1][1]] if is_cut else raw.text
            ids = np.array([*spec.prefix, *encoding.ids[:room]], dtype)
            yield TokenisedDocument(raw, text, ids, is_cut)


def _read_all(
    spec: CorpusSpec, tokenizer: HubTokenizer, progress: Progress
) -> list[TokenisedDocument]:
    raw = (document for path in spec.files for document in read_documents(path))
    tokenised = []
    with progress.task(f"tokenise {spec.name}", total=spec.limit or 0, unit="documents") as bar:
        for document in _tokenised(islice(raw, spec.limit), tokenizer, spec):
            tokenised.append(document)
            bar.advance()
    if not any(len(document.ids) > 1 for document in tokenised):
        raise InvalidInputError(
            f"no document of {', '.join(str(f) for f in spec.files)} has two tokens",
            "A prefix counts as one. A prediction needs a token before it: give longer documents",
        )
    return tokenised


def chunk_bounds(counts: Sequence[int], at_least: int) -> list[tuple[int, int]]:
    """Return (first document, last document + 1) of each chunk.

    A chunk closes at the first document end at or after `at_least` predictions.
    """
    bounds, first, size = [], 0, 0
    for index, count in enumerate(counts):
        size += count
        if size >= at_least:
            bounds.append((first, index + 1))
            first, size = index + 1, 0
    if first < len(counts):
        bounds.append((first, len(counts)))
    return bounds


def _corpus_key(
    spec: CorpusSpec, tokenizer_key: str, documents: Sequence[TokenisedDocument]
) -> str:
    digest = hashlib.sha256()
    for d in documents:
        fields = [d.raw.external_id, d.raw.source, d.raw.license, d.text, d.is_cut]
        digest.update(json.dumps(fields).encode())
        digest.update(d.ids.astype("<u4").tobytes())
    return result_key(
        "corpus",
        tokenizer=tokenizer_key,
        max_tokens=spec.max_tokens,
        prefix=list(spec.prefix),
        chunk_predictions=spec.chunk_predictions,
        documents=digest.hexdigest(),
    )


def stored_tokenizer(session: Session, data: bytes, tokenizer: HubTokenizer) -> Tokenizer:
    """Return the row of a `tokenizer.json`; create it if there is none."""
    key = bytes_key(data)
    row = session.scalars(select(Tokenizer).where(Tokenizer.key == key)).one_or_none()
    if row is None:
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        row = Tokenizer(key=key, vocabulary_size=size, json=data)
        session.add(row)
        session.flush()
    return row


def insert_documents(
    session: Session,
    corpus: Corpus,
    documents: Sequence[TokenisedDocument],
    bounds: Sequence[tuple[int, int]],
) -> None:
    """Store the documents of a corpus and their token ids, chunk by chunk."""
    prediction = 0
    for chunk, (first, last) in enumerate(bounds):
        start, rows = prediction, []
        for index, document in enumerate(documents[first:last], start=first):
            count = max(len(document.ids) - 1, 0)
            rows.append(
                {
                    "corpus_id": corpus.id,
                    "index": index,
                    "external_id": document.raw.external_id,
                    "source": document.raw.source,
                    "license": document.raw.license,
                    "text": document.text,
                    "n_tokens": len(document.ids),
                    "n_predictions": count,
                    "is_cut": document.is_cut,
                    "first_prediction": prediction,
                    "chunk": chunk,
                }
            )
            prediction += count
        session.execute(insert(Document), rows)
        session.add(
            TokenChunk(
                corpus_id=corpus.id,
                chunk=chunk,
                first_document=first,
                n_documents=last - first,
                first_prediction=start,
                n_predictions=prediction - start,
                **arrays.columns(np.concatenate([d.ids for d in documents[first:last]])),
            )
        )
        session.flush()


def _find_existing(session: Session, name: str, key: str) -> Corpus | None:
    by_key = session.scalars(select(Corpus).where(Corpus.key == key)).one_or_none()
    by_name = session.scalars(select(Corpus).where(Corpus.name == name)).one_or_none()
    if by_key is not None and by_key.name != name:
        raise InvalidInputError(
            f"these documents are already stored as corpus {by_key.name}",
            f"Use {by_key.name}, or change the documents or how they are cut",
            "name",
        )
    if by_name is not None and by_name.key != key:
        raise InvalidInputError(
            f"the name {name} belongs to another corpus (key {by_name.key[:12]})",
            "Choose another name",
            "name",
        )
    return by_key


def add_corpus(store: Store, spec: CorpusSpec, progress: Progress) -> Corpus:
    """Store a corpus, or return the equal one that is stored.

    Raises:
        InvalidInputError: a file or parameter cannot be used; the store is unchanged.
    """
    if not spec.tokenizer.is_file():
        raise InvalidInputError(f"{spec.tokenizer} is not a file", "Give a tokenizer.json")
    data = spec.tokenizer.read_bytes()
    tokenizer = parse_tokenizer(data)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _check(spec, tokenizer)
    documents = _read_all(spec, tokenizer, progress)
    counts = [max(len(d.ids) - 1, 0) for d in documents]
    bounds = chunk_bounds(counts, spec.chunk_predictions)
    key = _corpus_key(spec, bytes_key(data), documents)
    with store.begin() as session:
        if (existing := _find_existing(session, spec.name, key)) is not None:
            return existing
        corpus = Corpus(
            key=key,
            name=spec.name,
            tokenizer=stored_tokenizer(session, data, tokenizer),
            max_tokens=spec.max_tokens,
            prefix=list(spec.prefix),
            chunk_predictions=spec.chunk_predictions,
            n_documents=len(documents),
            n_tokens=sum(len(d.ids) for d in documents),
            n_predictions=sum(counts),
            n_chunks=len(bounds),
            provenance=provenance(files=[path.name for path in spec.files]),
        )
        session.add(corpus)
        session.flush()
        insert_documents(session, corpus, documents, bounds)
    return corpus
