"""Experiments on toy networks: lists, cells with their curves, phase diagrams."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from app.api.arrow import DOCUMENTED, matrix_stream
from app.api.tables import Row, csv_response
from app.requests.dependencies import Cell, Cursor, ExperimentName, StoreDep
from backend.experiments import queries as experiments
from backend.experiments.grokking import queries as phase_diagrams
from backend.experiments.grokking import views
from backend.experiments.registry import KINDS
from backend.experiments.views import CellDetail, ExperimentDetail, ExperimentPage, PresetView
from backend.read.paging import parse_tail_cursor
from backend.schemas.parameters import MAX_INTEGER

KindQuery = Annotated[
    str | None, Query(pattern=r"^[a-z_]{1,40}$", description="Only experiments of this kind")
]
Gap = Annotated[
    int,
    Query(
        ge=1,
        le=MAX_INTEGER,
        description="Minimum delay between train and test accuracy to count as grokking, in steps",
    ),
]

CSV_HEADER = ("phase", "test_only", "train_step", "test_step", "rqi_step", "margin")

router = APIRouter(prefix="/api/v1", tags=["experiments"])


@dataclass(frozen=True)
class PresetList:
    """Presets of all kinds."""

    presets: tuple[PresetView, ...]


@router.get("/experiments")
def list_experiments(
    store: StoreDep,
    kind: KindQuery = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=experiments.MAX_PAGE_SIZE)] = 50,
) -> ExperimentPage:
    """List experiments, newest first, with the number of their finished cells."""
    return experiments.list_experiments(
        store, kind, limit=limit, n_remaining=parse_tail_cursor(cursor)
    )


@router.get("/experiments/presets")
def list_presets() -> PresetList:
    """List named parameters: reduced ones take two minutes, full ones are as published."""
    return PresetList(
        tuple(
            PresetView(kind=kind.name, **vars(preset))
            for kind in KINDS.values()
            for preset in kind.presets
        )
    )


@router.get("/experiments/{experiment}")
def experiment_by_id(store: StoreDep, experiment: ExperimentName) -> ExperimentDetail:
    """Return one experiment with its parameters and the summaries of its finished cells."""
    return experiments.load_experiment(store, experiment)


@router.get("/experiments/{experiment}/cells/{cell}")
def experiment_cell(store: StoreDep, experiment: ExperimentName, cell: Cell) -> CellDetail:
    """Return one finished cell with its summary and training curves."""
    return experiments.load_cell(store, experiment, cell)


@router.get(
    "/experiments/{experiment}/cells/{cell}/arrays/{array}",
    response_class=Response,
    responses={200: {"content": DOCUMENTED}},
)
def experiment_array(
    store: StoreDep,
    experiment: ExperimentName,
    cell: Cell,
    array: Annotated[str, Path(pattern=r"^[a-z_]{1,40}$", examples=["representation"])],
) -> Response:
    """Return one array of a cell as an Arrow stream, one row for each index of its first axis."""
    values = experiments.load_cell_array(store, experiment, cell, array)
    rows = values.reshape(len(values), -1) if values.size else np.zeros((0, 1), values.dtype)
    shape = ",".join(str(n) for n in values.shape)
    return matrix_stream("row", 0, array, rows, {"shape": shape})


@router.get(
    "/phase-diagrams/{experiment}",
    response_model=views.PhaseDiagramView,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def phase_diagram(
    store: StoreDep,
    experiment: ExperimentName,
    gap: Gap = 1000,
    format: Annotated[
        Literal["json", "csv"], Query(description="csv: one row for each cell")
    ] = "json",
) -> views.PhaseDiagramView | Response:
    """Return a grid with the phase of every cell: C, G, M or X (arXiv:2205.10343, section 4)."""
    view = phase_diagrams.load_phase_diagram(store, experiment, gap)
    if format == "json":
        return view
    rows: list[Row] = [
        (cell.cell, cell.x, cell.y, cell.phase, cell.test_only, *_steps(cell), cell.margin)
        for cell in view.cells
    ]
    header = ("cell", view.x.name, view.y.name, *CSV_HEADER)
    return csv_response(header, iter([rows]), f"phase-diagram-{experiment}.csv")


def _steps(cell: views.PhaseCell) -> tuple[int | None, ...]:
    return cell.train_step, cell.test_step, cell.rqi_step


@router.get("/phase-diagrams/{experiment}/cells/{cell}")
def phase_diagram_cell(store: StoreDep, experiment: ExperimentName, cell: Cell) -> CellDetail:
    """Return the training curves of one cell of a grid."""
    return experiments.load_cell(store, experiment, cell)


@router.get("/phase-diagrams/{experiment}/cells/{cell}/theory")
def phase_diagram_theory(
    store: StoreDep, experiment: ExperimentName, cell: Cell
) -> views.EffectiveTheory:
    """Return the prediction of effective theory for a cell."""
    return phase_diagrams.load_effective_theory(store, experiment, cell)


@router.get("/phase-diagrams/{experiment}/compare/{other}")
def compare_phase_diagrams(
    store: StoreDep, experiment: ExperimentName, other: ExperimentName, gap: Gap = 1000
) -> views.PhaseComparison:
    """Compare two grids over the same axes: the cells that both have, and the changes of phase."""
    return phase_diagrams.compare_phase_diagrams(store, experiment, other, gap)
