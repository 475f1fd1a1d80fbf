"""Runs of sparse parity: the laws of a run, and the subtasks of one network."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.requests.dependencies import Cell, StoreDep
from backend.experiments.sparse_parity.queries import load_parity_cell, load_parity_run
from backend.experiments.sparse_parity.views import ParityCell, ParityView

RunName = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{16}$",
        description="Id of a run of sparse parity: the first digits of its content key",
        examples=["0123456789abcdef"],
    ),
]
Tasks = Annotated[
    int | None,
    Query(
        ge=1,
        le=2_000,
        description="Return only this many of the most frequent subtasks (default: all)",
    ),
]

router = APIRouter(prefix="/api/v1/parity", tags=["experiments"])


@router.get("/{run}")
def parity_run(store: StoreDep, run: RunName) -> ParityView:
    """Return a run: its cells, and its slopes beside those of the finite sum."""
    return load_parity_run(store, run)


@router.get("/{run}/cells/{cell}")
def parity_cell(store: StoreDep, run: RunName, cell: Cell, tasks: Tasks = None) -> ParityCell:
    """Return one network: the loss of every subtask over steps, and the steps of convergence."""
    return load_parity_cell(store, run, cell, tasks)
