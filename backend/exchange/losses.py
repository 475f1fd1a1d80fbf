"""Importing losses that were computed elsewhere: a predictions x models array, without weights.

The file is memory-mapped and read once, 65,536 predictions at a time; everything is written in one
transaction, so that a fault anywhere leaves nothing behind. Losses are stored as float16 nats
(backend.arrays); what counts as equal content is what is stored.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend import arrays, names
from backend.arrays import MAX_LOSS_NATS
from backend.db import Store
from backend.documents import ChunkSpan, chunk_spans
from backend.errors import InvalidInputError
from backend.exchange.json_files import read_json, shown
from backend.keys import result_key
from backend.lookup import corpus_named
from backend.models import Checkpoint, Corpus, Evaluation, LossChunk, Model, Suite
from backend.models.base import now
from backend.stages.corpora import CHUNK_PREDICTIONS
from backend.stages.progress import WORK_LOG, Progress
from backend.stages.provenance import provenance

NATS = {"nats": 1.0, "bits": math.log(2)}  # nats in one unit
TENTH_NAT = 0.1
MAX_STEP = 2**31 - 1
MAX_PARAMETERS = 2**63 - 1
# Columns that are converted together; bounds memory when there are a thousand models.
GROUP_COLUMNS = 32


@dataclass(frozen=True)
class ModelEntry:
    """One column of the array: a model of N = `nonembedding_parameters` after `step` steps."""

    name: str
    nonembedding_parameters: int
    step: int

    @property
    def title(self) -> str:
        """The column as people name it."""
        return f"{self.name} step {self.step}"


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


def _integer(value: object, least: int, most: int, where: str) -> int:
    # 1.5e7 is how some programs write whole numbers.
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, int) or not least <= whole <= most:
        raise InvalidInputError(
            f"{where} is {shown(value)}", f"Give a whole number from {least} to {most}"
        )
    return whole


def _entry(record: object, where: str) -> ModelEntry:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise InvalidInputError(
            f"{where} is {shown(record)}",
            'Write {"name": "small", "nonembedding_parameters": 1000, "step": 100}',
        )
    parameters = record.get("nonembedding_parameters")
    return ModelEntry(
        name=names.check(record["name"], f"{where}: model name"),
        nonembedding_parameters=_integer(
            parameters, 1, MAX_PARAMETERS, f"{where}: nonembedding_parameters"
        ),
        step=_integer(record.get("step"), 0, MAX_STEP, f"{where}: step"),
    )


def read_models(path: Path) -> tuple[ModelEntry, ...]:
    """Return the columns that a MODELS.json describes, in its order.

    Raises:
        InvalidInputError: not JSON of that form, a (name, step) twice, or a name with two sizes.
    """
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise InvalidInputError(
            f"{path} holds no list of models",
            'Write [{"name": "small", "nonembedding_parameters": 1000, "step": 100}, …]',
        )
    entries = tuple(_entry(r, f"{path}, model {i}") for i, r in enumerate(records))
    sizes: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for i, entry in enumerate(entries):
        if entry.nonembedding_parameters != sizes.setdefault(entry.name, _size(entry)):
            raise InvalidInputError(
                f"{path}, model {i}: {entry.name} has {_size(entry)} non-embedding parameters "
                f"here and {sizes[entry.name]} before",
                "Give models of different sizes different names",
            )
        first = places.setdefault((entry.name, entry.step), i)
        if first != i:
            raise InvalidInputError(
                f"{path}: models {first} and {i} are both {entry.title}",
                "Give every column its own name and step",
            )
    return entries


def _size(entry: ModelEntry) -> int:
    return entry.nonembedding_parameters


def open_losses(path: Path, n_models: int) -> NDArray[np.floating[Any]]:
    """Return the memory-mapped array of a `.npy` file with one column a model.

    Raises:
        InvalidInputError: not a whole `.npy` file of that shape, or not of plain floats.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file", "Give a .npy file")
    try:
        # Never unpickles: arrays of objects are refused by their header.
        losses = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises whatever its parser of headers does
        raise InvalidInputError(
            f"{path} cannot be read as one .npy array ({error})",
            "Write it with numpy.save(path, losses), floats only",
        ) from error
    if losses.dtype.kind != "f" or losses.dtype.itemsize not in (2, 4, 8):
        raise InvalidInputError(
            f"{path} holds {shown(str(losses.dtype))}", "Give float16, float32 or float64"
        )
    if losses.ndim != 2 or losses.shape[1] != n_models or not losses.shape[0]:
        raise InvalidInputError(
            f"{path} has shape {losses.shape}, the models are {n_models}",
            f"Give an array of shape (predictions, {n_models})",
        )
    extra = path.stat().st_size - int(losses.offset) - losses.nbytes
    if extra:
        raise InvalidInputError(
            f"{path} is {extra} bytes longer than its header says", "Write the file again"
        )
    return np.asarray(losses)


def _refusal(
    path: Path, values: NDArray[Any], factor: float, first: int, entries: Sequence[ModelEntry]
) -> InvalidInputError:
    """Return an error that names the first value of a block that cannot be stored."""
    usable = np.isfinite(values) & (values >= 0) & (values * factor < MAX_LOSS_NATS)
    row, column = np.argwhere(~usable)[0].tolist()
    return InvalidInputError(
        f"{path}: the loss of prediction {first + row} under {entries[column].title} is "
        f"{values[row, column]} (times {factor:.6g} nats), want finite, >= 0 and "
        f"< {MAX_LOSS_NATS:g} nats",
        "Correct or drop that prediction; nothing was stored",
    )


def stored_block(
    block: NDArray[np.floating[Any]], factor: float
) -> tuple[NDArray[np.float16], NDArray[np.float32]] | None:
    """Return a block as it is stored, one row a model, also as float32; None if it cannot be.

    Args:
        block: (predictions, models), any float dtype and byte order.
        factor: nats in one unit of the block.
    """
    from compute.halves import rounded_halves

    # A NaN makes both comparisons false.
    if not (block.min() >= 0 and float(block.max()) * factor < MAX_LOSS_NATS):
        return None
    columns = np.ascontiguousarray(block.T, np.float32)
    if factor != 1.0:
        columns = columns * np.float32(factor)
    return rounded_halves(columns)


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
                raise _refusal(
                    self.spec.file, np.asarray(block), factor, span.first_prediction, group
                )
            for column, (halves, wide) in enumerate(zip(*found, strict=True), start):
                stored = arrays.columns(halves)
                self._note(self.columns[column], wide, stored["checksum"])
                yield column, stored

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


def _store(session: Session, source: _Source, progress: Progress) -> ImportedLosses:
    spec, n_predictions = source.spec, len(source.losses)
    home = _home(session, spec, n_predictions)
    corpus = home or _new_corpus(session, spec, n_predictions)
    evaluations = _new_evaluations(session, spec, corpus, source.entries)
    spans = chunk_spans(session, corpus)
    with progress.task(f"import {spec.name}", n_predictions, unit="predictions") as bar:
        for span in spans:
            rows = [
                {"evaluation_id": evaluations[column].id, "chunk": span.chunk, **stored}
                for column, stored in source.rows(span)
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
