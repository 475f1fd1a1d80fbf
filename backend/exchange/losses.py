"""Importing losses that were computed elsewhere: a predictions x models array, without weights.

The file is memory-mapped and read once, 65,536 predictions at a time, each committed by itself, so
that others can write meanwhile; until the last one there is no finished evaluation. Losses are
stored as float16 nats (backend.store.arrays); what counts as equal content is what is stored.
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

from backend.errors import InvalidInputError
from backend.exchange.loss_files import (
    ModelEntry,
    open_losses,
    read_models,
    refusal,
    stored_block,
)
from backend.exchange.loss_rows import (
    Begun,
    Found,
    Wanted,
    begun_or_found,
    discard,
    locked,
    put_chunk,
)
from backend.progress import WORK_LOG, Progress
from backend.read.documents import ChunkSpan
from backend.schemas import names
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Evaluation
from backend.store.tables.base import now

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


def _places(source: _Source) -> list[tuple[str, int, int]]:
    return [(one.name, one.step, one.nonembedding_parameters) for one in source.entries]


def _equal(store: Store, source: _Source, found: Found) -> ImportedLosses:
    """Return the equal import that is stored.

    Raises:
        InvalidInputError: the name belongs to something else.
    """
    spec, n_predictions = source.spec, len(source.losses)
    if found.n_predictions == n_predictions:
        # Outside any transaction: this reads the whole file.
        for span in found.spans:
            for _ in source.rows(span):
                pass
        keys = source.keys(found.corpus_key if spec.corpus else None)[1]
        if set(keys) == set(found.evaluations):
            ids = tuple(found.evaluations[key] for key in keys)
            return ImportedLosses(spec.name, found.corpus, n_predictions, ids, created=False)
    raise InvalidInputError(
        f"the name {spec.name} belongs to another suite", "Choose another name", "name"
    )


def _stored_chunks(store: Store, source: _Source, begun: Begun, progress: Progress) -> None:
    """Store chunk by chunk what is not stored yet."""
    spec = source.spec
    total = len(source.losses)
    with progress.task(f"import {spec.name}", total, unit="predictions") as bar:
        for span, chunk in _one_ahead(source, begun.spans):
            rows = [
                {"evaluation_id": begun.evaluations[column], "chunk": span.chunk, **stored}
                for column, stored in chunk
            ]
            with store.begin() as session:
                put_chunk(session, begun, span.chunk, rows)
            bar.advance(span.n_predictions)


def _complete(store: Store, source: _Source, begun: Begun) -> ImportedLosses:
    spec, n_predictions = source.spec, len(source.losses)
    with store.begin() as session:
        locked(session, begun)
        evaluations = [session.get_one(Evaluation, one) for one in begun.evaluations]
        corpus = evaluations[0].corpus
        home = corpus.key if spec.corpus else None
        corpus.key, keys = source.keys(home)
        for row, key, column in zip(evaluations, keys, source.columns, strict=True):
            row.key = row.checkpoint.key = key
            row.mean_loss_nats = column.total / n_predictions
            row.share_under_tenth_nat = column.under / n_predictions
            row.completed_at = now()
        WORK_LOG.info("import losses %s", corpus.key[:16])
        return ImportedLosses(spec.name, corpus.name, n_predictions, begun.evaluations, True)


def import_losses(store: Store, spec: LossesSpec, progress: Progress) -> ImportedLosses:
    """Store losses as finished evaluations of a suite without weights, or find the equal import.

    Chunks are committed one by one: an import that was interrupted goes on where it stopped when
    it is asked for again.

    Raises:
        InvalidInputError: a file, value or name that cannot be used; nothing is left of it.
        NotFoundError: there is no such corpus.
    """
    names.check(spec.name, "name")
    if spec.unit not in NATS:
        raise InvalidInputError(f"unit {spec.unit!r}", f"Choose {' or '.join(NATS)}", "unit")
    source = _Source(spec, read_models(spec.models))
    wanted = Wanted(
        spec.name, spec.file, spec.unit, spec.corpus, len(source.losses), tuple(_places(source))
    )
    with store.begin() as session:
        found = begun_or_found(session, wanted)
    if isinstance(found, Found):
        return _equal(store, source, found)
    try:
        _stored_chunks(store, source, found, progress)
    except InvalidInputError:
        with store.begin() as session:
            discard(session, found)
        raise
    return _complete(store, source, found)
