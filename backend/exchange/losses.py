"""Import of losses computed elsewhere: a predictions x models array, without weights.

The file is memory-mapped and read once. Each chunk of 65,536 predictions is committed separately,
so that other programs can write in between; the last one finishes the evaluations. Losses are
stored as float16 nats (backend.store.arrays); two imports are equal if their stored values are.
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
    convert_block,
    invalid_value_error,
    open_losses,
    read_models,
)
from backend.exchange.loss_rows import (
    FinishedImport,
    ImportRequest,
    PendingImport,
    delete_import,
    find_or_create_import,
    lock_import,
    store_chunk,
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
    """Losses to import.

    Attributes:
        file: a `.npy` of shape (predictions, models), float16 to float64.
        models: JSON, one object a column: name, nonembedding_parameters, step.
        unit: "nats" or "bits".
        name: name of the suite, and of the corpus unless `corpus` is given.
        corpus: stored corpus that the rows belong to; None creates a corpus without text.
    """

    file: Path
    models: Path
    unit: str
    name: str
    corpus: str | None = None


@dataclass(frozen=True)
class ImportedLosses:
    """A stored import; `created` is False if an equal one existed."""

    suite: str
    corpus: str
    n_predictions: int
    evaluations: tuple[int, ...]
    created: bool


@dataclass
class _ColumnStats:
    """Running sums of one column; `digest` is over the checksums of its chunks."""

    digest: Any
    total: float = 0.0
    n_under_tenth_nat: int = 0


class _Source:
    """Chunks of the file as rows of the store, with running sums of every column."""

    def __init__(self, spec: LossesSpec, entries: tuple[ModelEntry, ...]) -> None:
        self.spec, self.entries = spec, entries
        self.losses = open_losses(spec.file, len(entries))
        self.columns = [_ColumnStats(hashlib.sha256()) for _ in entries]

    def rows(self, span: ChunkSpan) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (column, array columns) of one chunk."""
        factor = NATS[self.spec.unit]
        last = span.first_prediction + span.n_predictions
        for start in range(0, len(self.entries), GROUP_COLUMNS):
            block = self.losses[span.first_prediction : last, start : start + GROUP_COLUMNS]
            converted = convert_block(block, factor)
            if converted is None:
                group = self.entries[start : start + GROUP_COLUMNS]
                raise invalid_value_error(
                    self.spec.file, np.asarray(block), factor, span.first_prediction, group
                )
            for column, (halves, wide) in enumerate(zip(*converted, strict=True), start):
                stored = arrays.columns(halves)
                self._accumulate(self.columns[column], wide, stored["checksum"])
                yield column, stored

    def _accumulate(self, column: _ColumnStats, values: NDArray[np.float32], checksum: str) -> None:
        column.digest.update(checksum.encode())
        column.total += float(values.sum(dtype=np.float64))
        # In float32: float16 rounds 0.1.
        column.n_under_tenth_nat += int(np.count_nonzero(values < TENTH_NAT))

    def keys(self, corpus_key: str | None) -> tuple[str, list[str]]:
        """Return (key of the corpus, keys of the evaluations) after all chunks are read."""
        digests = [column.digest.hexdigest() for column in self.columns]
        if corpus_key is None:
            parts = {"name": self.spec.name, "n": len(self.losses), "losses": digests}
            corpus_key = result_key("imported_losses", **parts)
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


def _prefetch_chunks(
    source: _Source, spans: Sequence[ChunkSpan]
) -> Iterator[tuple[ChunkSpan, list[tuple[int, dict[str, Any]]]]]:
    """Yield the rows of every chunk; convert the next while the database stores one."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(list, source.rows(spans[0]))
        for span, next_span in zip(spans, [*spans[1:], None], strict=True):
            rows = future.result()
            if next_span is not None:
                future = pool.submit(list, source.rows(next_span))
            yield span, rows


def _reuse_import(source: _Source, finished: FinishedImport) -> ImportedLosses:
    """Return the stored import if its content is equal; else raise InvalidInputError."""
    spec, n_predictions = source.spec, len(source.losses)
    if finished.n_predictions == n_predictions:
        # Outside any transaction, because this reads the whole file.
        for span in finished.spans:
            for _ in source.rows(span):
                pass
        keys = source.keys(finished.corpus_key if spec.corpus else None)[1]
        if set(keys) == set(finished.evaluations):
            ids = tuple(finished.evaluations[key] for key in keys)
            return ImportedLosses(spec.name, finished.corpus, n_predictions, ids, created=False)
    raise InvalidInputError(
        f"the name {spec.name} belongs to another suite", "Choose another name", "name"
    )


def _store_chunks(
    store: Store, source: _Source, pending: PendingImport, progress: Progress
) -> None:
    """Store the missing chunks, one commit each."""
    spec = source.spec
    total = len(source.losses)
    with progress.task(f"import {spec.name}", total, unit="predictions") as bar:
        for span, chunk in _prefetch_chunks(source, pending.spans):
            rows = [
                {"evaluation_id": pending.evaluations[column], "chunk": span.chunk, **stored}
                for column, stored in chunk
            ]
            with store.begin() as session:
                store_chunk(session, pending, span.chunk, rows)
            bar.advance(span.n_predictions)


def _finish_import(store: Store, source: _Source, pending: PendingImport) -> ImportedLosses:
    spec, n_predictions = source.spec, len(source.losses)
    with store.begin() as session:
        lock_import(session, pending)
        evaluations = [session.get_one(Evaluation, i) for i in pending.evaluations]
        corpus = evaluations[0].corpus
        corpus.key, keys = source.keys(corpus.key if spec.corpus else None)
        for row, key, column in zip(evaluations, keys, source.columns, strict=True):
            row.key = row.checkpoint.key = key
            row.mean_loss_nats = column.total / n_predictions
            row.share_under_tenth_nat = column.n_under_tenth_nat / n_predictions
            row.completed_at = now()
        WORK_LOG.info("import losses %s", corpus.key[:16])
        return ImportedLosses(spec.name, corpus.name, n_predictions, pending.evaluations, True)


def import_losses(store: Store, spec: LossesSpec, progress: Progress) -> ImportedLosses:
    """Store losses as finished evaluations of a suite without weights, or return the equal import.

    Chunks are committed one by one; running an interrupted import again resumes it.

    Raises:
        InvalidInputError: an invalid file, value or name; no row remains.
        NotFoundError: there is no such corpus.
    """
    names.check(spec.name, "name")
    if spec.unit not in NATS:
        raise InvalidInputError(f"unit {spec.unit!r}", f"Choose {' or '.join(NATS)}", "unit")
    source = _Source(spec, read_models(spec.models))
    entries = tuple((e.name, e.step, e.nonembedding_parameters) for e in source.entries)
    n_predictions = len(source.losses)
    request = ImportRequest(spec.name, spec.file, spec.unit, spec.corpus, n_predictions, entries)
    with store.begin() as session:
        existing = find_or_create_import(session, request)
    if isinstance(existing, FinishedImport):
        return _reuse_import(source, existing)
    try:
        _store_chunks(store, source, existing, progress)
    except InvalidInputError:
        with store.begin() as session:
            delete_import(session, existing)
        raise
    return _finish_import(store, source, existing)
