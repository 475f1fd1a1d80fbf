"""Stored losses, from chunks or from the prediction-major cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.store import arrays
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import Corpus, CurveChunk, CurveSet, Evaluation, LossChunk

# Stored dtype of each score; classes and flags are small integers.
SCORE_DTYPES = {
    "curve_class": "uint8",
    "total_drop": "float16",
    "sharpness": "float16",
    "emergence": "float32",
    "emergence_censored": "int8",
    "final_loss": "float16",
    "monotonicity": "float16",
    "largest_rise": "float16",
    "slope": "float16",
    "r_squared": "float16",
    "published_monogenic": "int16",
    "published_banded": "int16",
    "published_polygenic": "uint8",
}


def evaluation_losses(session: Session, evaluation: Evaluation) -> NDArray[np.float16]:
    """Return all losses of a finished evaluation, in prediction order (nats)."""
    rows = session.scalars(
        select(LossChunk)
        .where(LossChunk.evaluation_id == evaluation.id)
        .order_by(LossChunk.chunk)
        .options(undefer(LossChunk.data))
    )
    parts = [arrays.read(r, f"losses of {evaluation.key[:12]}, chunk {r.chunk}") for r in rows]
    assert len(parts) == evaluation.n_chunks, (len(parts), evaluation.n_chunks)
    return np.concatenate(parts)


def _chunk_losses(session: Session, evaluation: Evaluation, chunk: int) -> NDArray[np.float16]:
    row = session.get_one(LossChunk, (evaluation.id, chunk), options=[undefer(LossChunk.data)])
    losses = arrays.read(row, f"losses of {evaluation.key[:12]}, chunk {chunk}")
    session.expunge(row)
    return losses


def loss_matrix(
    store: Store, corpus: Corpus, evaluations: Sequence[Evaluation]
) -> NDArray[np.float16]:
    """Return memory-mapped losses (nats), shape (predictions, evaluations)."""

    def fill(array: NDArray[Any]) -> None:
        first = 0
        # Chunk by chunk, so that each page of the file is written once.
        for chunk in range(corpus.n_chunks):
            with store.session() as session:
                parts = [_chunk_losses(session, e, chunk) for e in evaluations]
            last = first + len(parts[0])
            array[first:last] = np.stack(parts, axis=1)
            first = last
        assert first == len(array), (first, len(array))

    name = cache_name("losses", *(e.key for e in evaluations))
    return memory_map(store, name, (corpus.n_predictions, len(evaluations)), "float16", fill)


def curve_scores(store: Store, curve_set: CurveSet, name: str) -> NDArray[Any]:
    """Return one score (or the class) of all predictions of a finished curve set."""

    def fill(array: NDArray[Any]) -> None:
        first = 0
        with store.session() as session:
            rows = session.scalars(
                select(CurveChunk)
                .where(CurveChunk.curve_set_id == curve_set.id, CurveChunk.name == name)
                .order_by(CurveChunk.chunk)
                .options(undefer(CurveChunk.data))
            )
            for row in rows:
                part = arrays.read(row, f"{name} of curve set {curve_set.key[:12]}")
                array[first : first + len(part)] = part
                first += len(part)
        assert first == len(array), (first, len(array))

    size = (curve_set.corpus.n_predictions,)
    return memory_map(
        store, cache_name(f"curve-{name}", curve_set.key), size, SCORE_DTYPES[name], fill
    )
