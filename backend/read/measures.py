"""Stored measures beside the loss: rank and entropy of every prediction, by chunk."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.errors import InvalidInputError
from backend.store import arrays
from backend.store.keys import VERSIONS
from backend.store.tables import Evaluation, MeasureChunk

MEASURES = ("rank", "entropy")


def validate_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Return measure names without repeats, in their canonical order.

    Raises:
        InvalidInputError: a name is not a stored measure.
    """
    for name in names:
        if name not in MEASURES:
            raise InvalidInputError(
                f"measure {name!r} cannot be stored",
                f"Choose from {', '.join(MEASURES)}; the loss is always stored",
                "measures",
            )
    return tuple(name for name in MEASURES if name in names)


def stored_measure(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return a measure in its stored dtype: ranks as uint16, entropies as float16 nats."""
    assert name in MEASURES, name
    return values.astype(np.uint16 if name == "rank" else np.float16)


def stored_chunks(session: Session, evaluation: Evaluation) -> dict[int, set[str]]:
    """Return the measures of each chunk of an evaluation, at the current code version."""
    rows = session.execute(
        select(MeasureChunk.chunk, MeasureChunk.name).where(
            MeasureChunk.evaluation_id == evaluation.id,
            MeasureChunk.version == VERSIONS["measures"],
        )
    )
    measures: dict[int, set[str]] = {}
    for chunk, name in rows:
        measures.setdefault(chunk, set()).add(name)
    return measures


def chunk_measure(
    session: Session, evaluation: Evaluation, chunk: int, name: str
) -> NDArray[Any] | None:
    """Return one measure of a chunk's predictions, None if it is not stored."""
    row = session.get(
        MeasureChunk,
        (evaluation.id, chunk, name, VERSIONS["measures"]),
        options=[undefer(MeasureChunk.data)],
    )
    if row is None:
        return None
    return arrays.read(row, f"{name} of {evaluation.key[:12]}, chunk {chunk}")
