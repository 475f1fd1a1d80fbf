"""Evaluation of checkpoints on a corpus: a chunk is a unit of work and a committed row."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby, zip_longest
from multiprocessing import active_children, get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, QuantaError
from backend.progress import WORK_LOG, Progress
from backend.read.documents import read_chunk
from backend.read.losses import evaluation_losses
from backend.read.measures import stored_chunks, stored_measure, validate_measures
from backend.stages import evaluate_worker
from backend.stages.devices import Compute
from backend.stages.provenance import note_batch_share, provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import VERSIONS, result_key
from backend.store.lookup import tokenizer_of, weights_of
from backend.store.tables import Checkpoint, Corpus, Evaluation, LossChunk, MeasureChunk, Suite
from backend.store.tables.base import now
from backend.weights.checkpoint_folders import checkpoint_folder, is_remote, prefetch_checkpoint
from backend.weights.hub_cache import WeightsFolder

TENTH_NAT = 0.1
Values = dict[str, NDArray[Any]]
Measured = tuple[Values, float]


@dataclass(frozen=True)
class _Unit:
    """One chunk of one checkpoint: all that a process needs, apart from the tokens.

    `losses` and `measures` say what of the chunk is missing.
    """

    evaluation_id: int
    key: str
    chunk: int
    corpus: Corpus
    checkpoint: Checkpoint
    vocabulary_size: int
    losses: bool
    measures: tuple[str, ...]


def _evaluation_row(
    session: Session, corpus: Corpus, checkpoint: Checkpoint, compute: Compute
) -> Evaluation:
    # Equal weights in two suites, or at two steps, are two evaluations, of different curves.
    key = result_key(
        "evaluation",
        corpus=corpus.key,
        checkpoint=checkpoint.key,
        place=[checkpoint.model.suite.name, checkpoint.model.name, checkpoint.step],
        dtype="float32",
    )
    row = session.scalars(select(Evaluation).where(Evaluation.key == key)).one_or_none()
    if row is None:
        row = Evaluation(
            key=key,
            corpus=corpus,
            checkpoint=checkpoint,
            n_chunks=corpus.n_chunks,
            completed_at=None,
            mean_loss_nats=None,
            share_under_tenth_nat=None,
            provenance=provenance(device=compute.device, threads=1),
        )
        session.add(row)
        session.flush()
    return row


def _missing(
    session: Session, evaluation: Evaluation, measures: tuple[str, ...]
) -> list[tuple[int, bool, tuple[str, ...]]]:
    """Return (chunk, whether its losses are missing, its missing measures) where any are."""
    done = set(
        session.scalars(select(LossChunk.chunk).where(LossChunk.evaluation_id == evaluation.id))
    )
    stored = stored_chunks(session, evaluation) if measures else {}
    chunks = [
        (chunk, chunk not in done, tuple(m for m in measures if m not in stored.get(chunk, ())))
        for chunk in range(evaluation.n_chunks)
    ]
    return [(chunk, losses, names) for chunk, losses, names in chunks if losses or names]


def check_tokenizer(corpus: Corpus, suite: Suite) -> None:
    """Check that a suite was trained with the tokenizer of a corpus.

    Raises:
        InvalidInputError: the tokenizers differ, or the corpus has none.
    """
    tokenizer, suite_key = tokenizer_of(corpus), suite.tokenizer_key or "none"
    if suite_key != tokenizer.key:
        raise InvalidInputError(
            f"suite {suite.name} and corpus {corpus.name} have different tokenizers "
            f"({suite_key[:12]}, {tokenizer.key[:12]})",
            "Add the corpus again with the suite's tokenizer.json",
        )


def _finish_if_complete(session: Session, evaluation: Evaluation) -> None:
    count = session.scalar(
        select(func.count()).select_from(LossChunk).where(LossChunk.evaluation_id == evaluation.id)
    )
    if count != evaluation.n_chunks or evaluation.completed_at is not None:
        return
    losses = evaluation_losses(session, evaluation).astype(np.float64)
    evaluation.mean_loss_nats = float(losses.mean())
    evaluation.share_under_tenth_nat = float((losses < TENTH_NAT).mean())
    evaluation.completed_at = now()


def _commit(store: Store, unit: _Unit, values: Values, batch_share: float) -> None:
    with store.begin() as session:
        if batch_share < 1:
            note_batch_share(session.get_one(Evaluation, unit.evaluation_id), batch_share)
        for name in unit.measures:
            session.add(
                MeasureChunk(
                    evaluation_id=unit.evaluation_id,
                    chunk=unit.chunk,
                    name=name,
                    version=VERSIONS["measures"],
                    **arrays.columns(stored_measure(name, values[name])),
                )
            )
        if unit.losses:
            stored = arrays.stored_losses(values["loss"])
            session.add(
                LossChunk(
                    evaluation_id=unit.evaluation_id, chunk=unit.chunk, **arrays.columns(stored)
                )
            )
        session.flush()
        _finish_if_complete(session, session.get_one(Evaluation, unit.evaluation_id))


@contextmanager
def _executor(compute: Compute, units: int) -> Iterator[ProcessPoolExecutor | None]:
    """Yield a pool of single-threaded processes, or None to compute in this one."""
    workers = min(compute.workers, units)
    if compute.device != "cpu" or workers < 2:
        yield None
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=evaluate_worker.start,
        initargs=(1,),
    )
    try:
        yield pool
    except BaseException:
        # Else an interrupt would wait for the chunks in flight, half a minute each.
        for child in active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _arguments(
    store: Store, unit: _Unit, folder: WeightsFolder, compute: Compute
) -> tuple[Any, ...]:
    with store.session() as session:
        documents = read_chunk(session, unit.corpus, unit.chunk).documents
    action = "evaluate" if unit.losses else "measure"
    WORK_LOG.info("%s %s chunk %d", action, unit.key[:16], unit.chunk)
    weights = (str(folder.path), folder.key, unit.vocabulary_size)
    return *weights, compute.device, documents, bool(unit.measures), compute.batch_share


def _groups(units: Sequence[_Unit]) -> list[list[_Unit]]:
    """Return units that share open weights: a hub's checkpoint alone, so that it may be evicted."""
    grouped = groupby(units, lambda u: u.checkpoint.id if is_remote(u.checkpoint) else 0)
    return [list(members) for _, members in grouped]


def _compute(
    store: Store, units: Sequence[_Unit], compute: Compute, progress: Progress
) -> Iterator[tuple[_Unit, Measured]]:
    groups = _groups(units)
    with _executor(compute, len(units)) as pool:
        for group, following in zip_longest(groups, groups[1:]):
            with ExitStack() as stack:
                folders = {
                    unit.checkpoint.id: stack.enter_context(
                        checkpoint_folder(store, unit.checkpoint, progress)
                    )
                    for unit in {unit.checkpoint.id: unit for unit in group}.values()
                }
                coming = following[0].checkpoint if following else None
                stack.enter_context(prefetch_checkpoint(store, coming, progress))
                yield from _compute_group(store, group, folders, compute, pool)


def _compute_group(
    store: Store,
    units: Sequence[_Unit],
    folders: dict[int, WeightsFolder],
    compute: Compute,
    pool: ProcessPoolExecutor | None,
) -> Iterator[tuple[_Unit, Measured]]:
    def arguments(unit: _Unit) -> tuple[Any, ...]:
        return _arguments(store, unit, folders[unit.checkpoint.id], compute)

    if pool is None:
        evaluate_worker.prepare(threads=1)
        for unit in units:
            yield unit, evaluate_worker.chunk_values(*arguments(unit))
        return
    # A few units ahead keep every process busy without holding the corpus in memory.
    waiting: dict[Future[Measured], _Unit] = {}
    for unit in units:
        waiting[pool.submit(evaluate_worker.chunk_values, *arguments(unit))] = unit
        if len(waiting) > compute.workers:
            done = next(as_completed(waiting))
            yield waiting.pop(done), done.result()
    for done in as_completed(list(waiting)):
        yield waiting[done], done.result()


def _plan(
    store: Store,
    corpus_id: int,
    checkpoint_ids: Sequence[int],
    measures: tuple[str, ...],
    compute: Compute,
    chunks: Collection[int] | None,
) -> tuple[list[int], list[_Unit]]:
    """Return (evaluation ids, units that are missing), creating evaluations that are new."""
    ids, units = [], []
    with store.begin() as session:
        corpus = session.get_one(Corpus, corpus_id)
        for checkpoint_id in checkpoint_ids:
            checkpoint = session.get_one(Checkpoint, checkpoint_id)
            weights_of(checkpoint)  # raises if it was imported as losses
            check_tokenizer(corpus, checkpoint.model.suite)
            size = tokenizer_of(corpus).vocabulary_size
            row = _evaluation_row(session, corpus, checkpoint, compute)
            ids.append(row.id)
            units += [
                _Unit(row.id, row.key, chunk, corpus, checkpoint, size, losses, names)
                for chunk, losses, names in _missing(session, row, measures)
                if chunks is None or chunk in chunks
            ]
    return ids, units


def _finish_complete(store: Store, ids: Sequence[int]) -> None:
    """Finish evaluations of which two processes committed the last two chunks at once."""
    with store.begin() as session:
        for evaluation_id in ids:
            _finish_if_complete(session, session.get_one(Evaluation, evaluation_id))


def evaluate(
    store: Store,
    corpus: Corpus,
    checkpoint_ids: Sequence[int],
    compute: Compute,
    progress: Progress,
    measures: Sequence[str] = (),
    chunks: Collection[int] | None = None,
) -> list[int]:
    """Evaluate checkpoints on a corpus; stored chunks are not computed again.

    Args:
        store: receives the results.
        corpus: corpus to evaluate on.
        checkpoint_ids: ids of the checkpoints.
        compute: device and number of processes.
        progress: receives progress.
        measures: of "rank" and "entropy", those to store beside the loss.
        chunks: chunks to evaluate, None for all.

    Returns:
        Ids of the evaluations, in the order of `checkpoint_ids`.

    Raises:
        InvalidInputError: a checkpoint cannot be used (the message names it) or has another
            tokenizer than the corpus, or a measure is unknown.
        QuantaError: a process was killed; its uncommitted chunks are lost.
    """
    ids, units = _plan(
        store, corpus.id, checkpoint_ids, validate_measures(measures), compute, chunks
    )
    total = len(ids) * corpus.n_predictions
    done = total - round(len(units) * corpus.n_predictions / corpus.n_chunks)
    title = f"evaluate {len(ids)} checkpoints"
    with progress.task(title, total=total, unit="predictions", done=done) as bar:
        try:
            computed = _compute(store, units, compute, progress) if units else ()
            for unit, (values, batch_share) in computed:
                _commit(store, unit, values, batch_share)
                bar.advance(len(values["loss"]))
        except BrokenProcessPool as error:
            raise QuantaError(
                "an evaluation process ended unexpectedly (out of memory?)",
                "Run the command again: finished chunks are kept; --workers 1 needs less memory",
            ) from error
        except (ValueError, MemoryError) as error:
            raise InvalidInputError(str(error), "Finished chunks are kept") from error
    _finish_complete(store, ids)
    return ids
