"""Selections and similarities."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.quanta.views import SelectionRow, SimilarityView
from backend.read.paging import check_limit
from backend.read.similarities import cosines
from backend.read.values import format_utc
from backend.store.database import Store
from backend.store.tables import Selection, Similarity

MAX_ROWS = 256
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SAMPLE_ROWS = 256


def selection_row(selection: Selection) -> SelectionRow:
    """Return a selection as a view."""
    checkpoint = selection.evaluation.checkpoint if selection.evaluation else None
    parameters = selection.parameters
    return SelectionRow(
        id=selection.id,
        key=selection.key,
        imported=checkpoint is None,
        corpus=selection.corpus.name,
        suite=checkpoint.model.suite.name if checkpoint else None,
        model=checkpoint.model.name if checkpoint else None,
        step=checkpoint.step if checkpoint else None,
        max_loss_nats=parameters.get("max_loss_nats"),
        stride=parameters.get("stride"),
        induction_filter=parameters.get("induction_filter"),
        size=selection.size,
        n_under_threshold=selection.n_under_threshold,
        n_induction=selection.n_induction,
        created_at=format_utc(selection.created_at),
    )


def list_selections(store: Store) -> tuple[SelectionRow, ...]:
    """Return all selections, oldest first."""
    with store.session() as session:
        return tuple(
            selection_row(s) for s in session.scalars(select(Selection).order_by(Selection.id))
        )


def _finished(session: Session, similarity_id: int) -> Similarity:
    row = session.get(Similarity, similarity_id)
    if row is None:
        raise NotFoundError(
            f"there is no similarity {similarity_id}", "A clustering names its similarity"
        )
    if row.is_imported:
        raise NotFoundError(
            f"similarity {similarity_id} is not stored: its clusters were imported as labels",
            "Only `quanta discover` computes similarities of gradients",
        )
    if row.completed_at is None:
        raise NotReadyError(
            f"similarity {similarity_id} is not finished", "Run `quanta discover` again to continue"
        )
    return row


def _spread(cosine: NDArray[np.float32]) -> tuple[float, dict[str, float]]:
    """Return (mean, quantiles) off the diagonal, over at most 256 evenly spaced rows."""
    rows = np.unique(np.linspace(0, len(cosine) - 1, min(len(cosine), SAMPLE_ROWS)).astype(int))
    values = np.array(cosine[rows], np.float64)
    values[np.arange(len(rows)), rows] = np.nan
    levels = np.nanquantile(values, QUANTILES)
    quantiles = {f"{q:g}": float(v) for q, v in zip(QUANTILES, levels, strict=True)}
    return float(np.nanmean(values)), quantiles


_spreads: dict[str, tuple[float, dict[str, float]]] = {}


def similarity(store: Store, similarity_id: int) -> SimilarityView:
    """Return a similarity with the mean and the quantiles of its cosines.

    Raises:
        NotFoundError, NotReadyError: there is no such similarity, or it is not finished.
    """
    with store.session() as session:
        row = _finished(session, similarity_id)
        if row.key not in _spreads:  # immutable, so computed once
            _spreads[row.key] = _spread(cosines(store, row))
        mean, quantiles = _spreads[row.key]
        return SimilarityView(
            id=row.id,
            key=row.key,
            selection=selection_row(row.selection),
            measure=row.measure,
            parameter_names=tuple(row.parameters["parameter_names"]),
            n_parameters=row.parameters["n_parameters"],
            size=row.size,
            mean=mean,
            quantiles=quantiles,
            created_at=format_utc(row.created_at),
        )


def similarity_rows(
    store: Store, similarity_id: int, first: int, limit: int
) -> NDArray[np.float32]:
    """Return rows first … first + limit - 1 of a similarity, shape (rows, size).

    Raises:
        NotFoundError, NotReadyError: there is no such similarity, or it is not finished.
        InvalidInputError: a limit out of range, or a first row beyond the last.
    """
    check_limit(limit, MAX_ROWS)
    with store.session() as session:
        row = _finished(session, similarity_id)
    if not 0 <= first < row.size:
        raise InvalidInputError(f"first is {first}", f"Choose 0 to {row.size - 1}", "first")
    return np.array(cosines(store, row)[first : first + limit])
