"""Runs of sparse parity: laws of a run, and what one of its networks learned when."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.requests.dependencies import Cell, StoreDep
from backend.experiments.sparse_parity import queries as parity
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
    int | None, Query(ge=1, le=2_000, description="Only so many of the most frequent subtasks")
]

router = APIRouter(prefix="/api/v1/parity", tags=["experiments"])


@router.get("/{run}")
def parity_run(store: StoreDep, run: RunName) -> ParityView:
    """A run: slopes over width, steps and data beside the sum over its subtasks, and its cells."""
    return parity.parity(store, run)


@router.get("/{run}/cells/{cell}")
def parity_cell(store: StoreDep, run: RunName, cell: Cell, tasks: Tasks = None) -> ParityCell:
    """One network: the loss of every subtask over its steps, and when each was learned."""
    return parity.parity_cell(store, run, cell, tasks)
