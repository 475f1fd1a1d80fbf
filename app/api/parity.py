"""Runs of sparse parity: laws of a run, and what one of its networks learned when."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.experiments import Cell, ExperimentName
from app.deps import StoreDep
from backend.queries import parity
from backend.queries.parity_views import ParityCell, ParityView

Tasks = Annotated[
    int | None, Query(ge=1, le=2_000, description="Only so many of the most frequent subtasks")
]

router = APIRouter(prefix="/api/v1/parity", tags=["experiments"])


@router.get("/{experiment}")
def parity_run(store: StoreDep, experiment: ExperimentName) -> ParityView:
    """A run: slopes over width, steps and data beside the sum over its subtasks, and its cells."""
    return parity.parity(store, experiment)


@router.get("/{experiment}/cells/{cell}")
def parity_cell(
    store: StoreDep, experiment: ExperimentName, cell: Cell, tasks: Tasks = None
) -> ParityCell:
    """One network: the loss of every subtask over its steps, and when each was learned."""
    return parity.parity_cell(store, experiment, cell, tasks)
