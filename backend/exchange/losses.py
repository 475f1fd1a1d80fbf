"""Importing losses that were computed elsewhere: a predictions x models array, without weights.

The file is memory-mapped and read once, 65,536 predictions at a time; everything is written in one
transaction, so that a fault anywhere leaves nothing behind. Losses are stored as float16 nats
(backend.arrays); what counts as equal content is what is stored.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend import arrays, names
from backend.db import Store
from backend.documents import ChunkSpan, chunk_spans
from backend.errors import InvalidInputError
from backend.exchange.loss_files import (
    ModelEntry,
    open_losses,
    read_models,
    refusal,
    stored_block,
)
from backend.keys import result_key
from backend.lookup import corpus_named
from backend.models import Checkpoint, Corpus, Evaluation, LossChunk, Model, Suite
from backend.models.base import now
from backend.stages.corpora import CHUNK_PREDICTIONS
from backend.stages.progress import WORK_LOG, Progress
from backend.stages.provenance import provenance

NATS = {"nats": 1.0, "bits": math.log(2)}  # nats in one unit
TENTH_NAT = 0.1
# Columns that are converted together; bounds memory when there are a thousand models.
GROUP_COLUMNS = 32


@dataclass(frozen=True)
class LossesSpec:
    """What to import.

    Attributes:
        file: a `.npy` of shape (predictions, models), float16 to float64.
        models: JSON, one object a column: name, nonembedding_parameters, step.
        unit: "nats" or "bits".
        name: of the suite, and of the corpus unless one is given.
        corpus: the stored corpus whose predictions the rows are; None: there is no text.
    """

    file: Path
    models: Path
    unit: str
    name: str
    corpus: str | None = None


@dataclass(frozen=True)
class ImportedLosses:
    """What is stored; `created` is False when an equal import was there already."""

    suite: str
    corpus: str
    n_predictions: int
    evaluations: tuple[int, ...]
    created: bool


@dataclass
class _Column:
    """Running facts of one column; `digest` is over the checksums of its chunks."""

    digest: Any
    total: float = 0.0
    under: int = 0


class _Source:
    """The file's chunks as rows of the store, with running facts of every column."""

    def __init__(self, spec: LossesSpec, entries: tuple[ModelEntry, ...]) -> None:
        self.spec, self.entries = spec, entries
        self.losses = open_losses(spec.file, len(entries))
        self.columns = [_Column(hashlib.sha256()) for _ in entries]

    def rows(self, span: ChunkSpan) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (column, array columns) of one chunk."""
        factor = NATS[self.spec.unit]
        last = span.first_prediction + span.n_predictions
        for start in range(0, len(self.entries), GROUP_COLUMNS):
            block = self.losses[span.first_prediction : last, start : start + GROUP_COLUMNS]
            found = stored_block(block, factor)
            if found is None:
                group = self.entries[start : start + GROUP_COLUMNS]
                raise refusal(
                    self.spec.file, np.asarray(block), factor, span.first_prediction, group
                )
            for column, (halves, wide) in enumerate(zip(*found, strict=True), start):
                stored = arrays.columns(halves)
                self._note(self.columns[column], wide, stored["checksum"])
                yield column, stored

    def converted(self, span: ChunkSpan) -> list[tuple[int, dict[str, Any]]]:
        """Return all rows of one chunk."""
        return list(self.rows(span))

    def _note(self, column: _Column, values: NDArray[np.float32], checksum: str) -> None:
        column.digest.update(checksum.encode())
        column.total += float(values.sum(dtype=np.float64))
        # Not as float16, which has another 0.1.
        column.under += int(np.count_nonzero(values < TENTH_NAT))

    def keys(self, corpus_key: str | None) -> tuple[str, list[str]]:
        """Return (key of the corpus, keys of the evaluations) once all chunks were read."""
        digests = [column.digest.hexdigest() for column in self.columns]
        if corpus_key is None:
            corpus_key = result_key(
                "imported_losses", name=self.spec.name, n=len(self.losses), losses=digests
            )
        return corpus_key, [
            result_key(
                "imported_losses",
                corpus=corpus_key,
                place=[self.spec.name, entry.name, entry.step],
                nonembedding_parameters=entry.nonembedding_parameters,
                losses=digest,
            )
            for entry, digest in zip(self.entries, digests, strict=True)
        ]


def _home(session: Session, spec: LossesSpec, n_predictions: int) -> Corpus | None:
    """Return the corpus that was asked for, None if a corpus without text is to be made."""
    if spec.corpus is None:
        return None
    corpus = corpus_named(session, spec.corpus)
    if corpus.n_predictions != n_predictions:
        raise InvalidInputError(
            f"{spec.file} has {n_predictions} predictions, corpus {corpus.name} has "
            f"{corpus.n_predictions}",
            "Give one row for every prediction of the corpus, in its order, or leave --corpus out",
            "corpus",
        )
    return corpus


def _new_corpus(session: Session, spec: LossesSpec, n_predictions: int) -> Corpus:
    corpus = Corpus(
        key=f"unfinished import {spec.name}",
        name=spec.name,
        tokenizer_id=None,
        max_tokens=0,
        prefix=[],
        chunk_predictions=CHUNK_PREDICTIONS,
        n_documents=0,
        n_tokens=0,
        n_predictions=n_predictions,
        n_chunks=-(-n_predictions // CHUNK_PREDICTIONS),
        provenance=provenance(files=[spec.file.name], imported="losses without text"),
    )
    session.add(corpus)
    return corpus


def _new_evaluations(
    session: Session, spec: LossesSpec, corpus: Corpus, entries: Sequence[ModelEntry]
) -> list[Evaluation]:
    suite = Suite(
        name=spec.name,
        description=f"Losses imported from {spec.file.name}; there are no weights",
        tokenizer_key=None,
    )
    models: dict[str, Model] = {}
    made_with = provenance(imported=spec.file.name, unit=spec.unit)  # slow: once for all
    rows = []
    for i, entry in enumerate(entries):
        if entry.name not in models:
            models[entry.name] = Model(
                suite=suite,
                name=entry.name,
                parameters=None,
                nonembedding_parameters=entry.nonembedding_parameters,
                config={},
            )
        checkpoint = Checkpoint(
            model=models[entry.name], step=entry.step, tokens_seen=None, key="", location=None
        )
        rows.append(
            Evaluation(
                key=f"unfinished import {spec.name} {i}",
                corpus=corpus,
                checkpoint=checkpoint,
                n_chunks=corpus.n_chunks,
                completed_at=None,
                mean_loss_nats=None,
                share_under_tenth_nat=None,
                provenance=made_with,
            )
        )
    session.add_all(rows)
    session.flush()
    return rows


def _one_ahead(
    source: _Source, spans: Sequence[ChunkSpan]
) -> Iterator[tuple[ChunkSpan, list[tuple[int, dict[str, Any]]]]]:
    """Yield the rows of every chunk; the next is converted while the database takes one."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(source.converted, spans[0])
        for span, following in zip(spans, [*spans[1:], None], strict=True):
            rows = waiting.result()
            if following is not None:
                waiting = pool.submit(source.converted, following)
            yield span, rows


def _store(session: Session, source: _Source, progress: Progress) -> ImportedLosses:
    spec, n_predictions = source.spec, len(source.losses)
    home = _home(session, spec, n_predictions)
    corpus = home or _new_corpus(session, spec, n_predictions)
    evaluations = _new_evaluations(session, spec, corpus, source.entries)
    spans = chunk_spans(session, corpus)
    with progress.task(f"import {spec.name}", n_predictions, unit="predictions") as bar:
        for span, chunk in _one_ahead(source, spans):
            rows = [
                {"evaluation_id": evaluations[column].id, "chunk": span.chunk, **stored}
                for column, stored in chunk
            ]
            session.execute(insert(LossChunk), rows)
            bar.advance(span.n_predictions)
    corpus.key, keys = source.keys(home.key if home else None)
    for row, key, column in zip(evaluations, keys, source.columns, strict=True):
        row.key = row.checkpoint.key = key
        row.mean_loss_nats = column.total / n_predictions
        row.share_under_tenth_nat = column.under / n_predictions
        row.completed_at = now()
    WORK_LOG.info("import losses %s", corpus.key[:16])
    ids = tuple(row.id for row in evaluations)
    return ImportedLosses(spec.name, corpus.name, n_predictions, ids, created=True)


def _hashed(session: Session, source: _Source, corpus: Corpus) -> list[str]:
    """Return the keys that the evaluations would get, writing nothing."""
    for span in chunk_spans(session, corpus):
        for _ in source.rows(span):
            pass
    return source.keys(corpus.key if source.spec.corpus else None)[1]


def _stored(session: Session, source: _Source, suite: Suite) -> ImportedLosses:
    """Return the equal import that is stored.

    Raises:
        InvalidInputError: the name belongs to something else.
    """
    spec, n_predictions = source.spec, len(source.losses)
    home = _home(session, spec, n_predictions)
    query = select(Evaluation).join(Checkpoint).join(Model).where(Model.suite_id == suite.id)
    by_key = {row.key: row for row in session.scalars(query)}
    corpus = home or next((row.corpus for row in by_key.values()), None)
    same_form = corpus is not None and corpus.n_predictions == n_predictions
    if suite.tokenizer_key is None and corpus is not None and same_form:
        keys = _hashed(session, source, corpus)
        if set(keys) == set(by_key):
            ids = tuple(by_key[key].id for key in keys)
            return ImportedLosses(spec.name, corpus.name, n_predictions, ids, created=False)
    raise InvalidInputError(
        f"the name {spec.name} belongs to another suite", "Choose another name", "name"
    )


def _check_free(session: Session, spec: LossesSpec) -> None:
    taken = session.scalars(select(Corpus.id).where(Corpus.name == spec.name)).one_or_none()
    if spec.corpus is None and taken is not None:
        raise InvalidInputError(
            f"the name {spec.name} belongs to another corpus",
            f"Choose another name, or give --corpus {spec.name} if the losses are of its "
            "predictions",
            "name",
        )


def import_losses(store: Store, spec: LossesSpec, progress: Progress) -> ImportedLosses:
    """Store losses as finished evaluations of a suite without weights, or find the equal import.

    Raises:
        InvalidInputError: a file, value or name that cannot be used; nothing is stored.
        NotFoundError: there is no such corpus.
    """
    names.check(spec.name, "name")
    if spec.unit not in NATS:
        raise InvalidInputError(f"unit {spec.unit!r}", f"Choose {' or '.join(NATS)}", "unit")
    source = _Source(spec, read_models(spec.models))
    with store.begin() as session:
        suite = session.scalars(select(Suite).where(Suite.name == spec.name)).one_or_none()
        if suite is not None:
            return _stored(session, source, suite)
        _check_free(session, spec)
        return _store(session, source, progress)
