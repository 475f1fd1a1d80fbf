"""Queries about modular addition: one network with its curves and its circuit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.modular_addition.spec import MODULAR_ADDITION
from backend.experiments.modular_addition.views import ClockCell
from backend.experiments.queries import load_cell_of_kind, load_run
from backend.store.database import Store


def load_clock_cell(store: Store, experiment: str, cell: int) -> ClockCell:
    """Return one network of a modular addition.

    Raises:
        NotFoundError: unknown experiment or cell, or an experiment of another kind.
        NotReadyError: the cell is not finished.
    """
    run, _ = load_run(store, MODULAR_ADDITION, experiment)
    _, detail, arrays = load_cell_of_kind(store, MODULAR_ADDITION, experiment, cell)
    others = tuple(row for row in run.cells if row.cell != cell)
    return ClockCell(run.experiment, detail, others, arrays)


def attention_shares(scores: NDArray[Any], p: int) -> NDArray[np.float64]:
    """Return the attention [heads, 2, a, b] to a and to b; the rest goes to "=".

    `scores` [heads, 2p + 1], before softmax, are to the first number, the second, and "=".
    """
    logits = np.zeros((len(scores), 3, p, p))
    logits[:, 0] = scores[:, :p, None]
    logits[:, 1] = scores[:, None, p : 2 * p]
    logits[:, 2] = scores[:, 2 * p, None, None]
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = weights[:, :2] / weights.sum(axis=1, keepdims=True)
    return shares
