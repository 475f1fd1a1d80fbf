"""The page of sparse parity: the subtasks of one network, and the scaling laws of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.base import payload
from app.figures.parity import cell_figures, law_figures
from app.pages.experiment_runs import (
    NetworkRow,
    RunsPage,
    list_runs,
    none_if_not_ready,
    setting_rows,
)
from app.requests.dependencies import Cell, ExperimentName, StoreDep
from app.requests.experiments import MAX_TASK_LINES, ParityQuery
from app.web.templating import render
from backend.experiments.sparse_parity.queries import load_parity_cell, load_parity_run
from backend.experiments.sparse_parity.spec import AXES, SPARSE_PARITY
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw, ParityView
from backend.experiments.views import CellRow, ExperimentRow

router = APIRouter(include_in_schema=False)

MAX_ROWS = 100
LAW_TITLES: dict[ParityAxis, str] = {
    "N": "final loss over width",
    "S": "loss over steps",
    "D": "minimum loss over sample size",
}
PLACE_NAMES = {"alpha": "α", "width": "width", "samples": "D", "seed": "seed"}


@dataclass(frozen=True, kw_only=True)
class ParityPage(RunsPage):
    """Variables of the page of sparse parity; `view` is None if there is no run.

    `laws_at_alpha` are the laws at the alpha of the current network; `exponent_axes` those with a
    plot of exponents over alpha.
    """

    template: ClassVar[str] = "parity.html"

    title: str = "Sparse parity"
    query: ParityQuery
    view: ParityView | None
    cell: ParityCell | None
    alpha: float | None
    laws_at_alpha: list[ParityLaw]
    exponent_axes: list[ParityAxis]
    law_titles: dict[ParityAxis, str]
    rows: list[NetworkRow]
    max_tasks: int


def network_name(row: CellRow, cells: Sequence[CellRow]) -> str:
    """Return the parameters that distinguish a cell from the others of its run."""
    parts = []
    for name, title in PLACE_NAMES.items():
        if len({cell.place[name] for cell in cells}) > 1:
            value = row.place[name]
            is_fresh = name == "samples" and not value
            parts.append("fresh data" if is_fresh else f"{title} {value:,}")
    return ", ".join(parts) or f"width {row.place['width']}"


def _default_cell(view: ParityView) -> int | None:
    """Return the finished cell with the largest number of converged subtasks."""
    finished = [(cell.cell, cell.summary) for cell in view.cells if cell.summary]
    best = max(finished, key=lambda cell: cell[1]["converged"], default=None)
    return best[0] if best else None


def network_rows(view: ParityView, alpha: float | None) -> list[NetworkRow]:
    """Return the rows of the table: all cells if they are few, else those of one alpha."""
    cells = list(view.cells)
    if len(cells) > MAX_ROWS and alpha is not None:
        cells = [cell for cell in cells if cell.place["alpha"] == alpha]
    return [
        NetworkRow(cell.cell, network_name(cell, view.cells), cell.summary)
        for cell in cells[:MAX_ROWS]
    ]


def _settings(run: ExperimentRow) -> list[tuple[str, str]]:
    hidden = set(AXES)
    if not run.parameters["patience"]:
        hidden |= {"patience", "patience_after", "patience_every"}
    return setting_rows(run, hidden)


def _exponent_axes(laws: Sequence[ParityLaw]) -> list[ParityAxis]:
    alphas: dict[ParityAxis, set[float]] = {axis: set() for axis in LAW_TITLES}
    for law in laws:
        if law.why_not is None:
            alphas[law.axis].add(law.alpha)
    return [axis for axis in LAW_TITLES if len(alphas[axis]) > 1]


@router.get("/parity")
def parity(request: Request, store: StoreDep, query: Annotated[ParityQuery, Query()]) -> Response:
    """Show a run of sparse parity with one of its networks."""
    runs = list_runs(store, SPARSE_PARITY, query.run)
    run = runs.current
    view = load_parity_run(store, run.id) if run else None
    number = query.cell if query.cell is not None or view is None else _default_cell(view)
    cell = None
    if run is not None and number is not None:
        cell = none_if_not_ready(load_parity_cell, store, run.id, number, n_tasks=1)
    alphas = run.parameters["alphas"] if run else [None]
    alpha = cell.place["alpha"] if cell else alphas[0]
    laws = view.laws if view else ()
    page = ParityPage(
        runs=runs,
        query=query.model_copy(update={"run": run.id if run else None}),
        view=view,
        cell=cell,
        alpha=alpha,
        laws_at_alpha=[law for law in laws if law.alpha == alpha],
        exponent_axes=_exponent_axes(laws),
        law_titles=LAW_TITLES,
        rows=network_rows(view, alpha) if view else [],
        settings=_settings(run) if run else [],
        max_tasks=MAX_TASK_LINES,
        api=f"/api/v1/parity/{run.id}" if run else f"/api/v1/experiments?kind={SPARSE_PARITY.name}",
    )
    return render(request, page)


@router.get("/figures/parity/{experiment}")
def run_figures(
    store: StoreDep,
    experiment: ExperimentName,
    alpha: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """Return the laws of a run at one alpha, by default the first."""
    view = load_parity_run(store, experiment)
    parameters = view.experiment.parameters
    alpha = parameters["alphas"][0] if alpha is None else alpha
    figures = law_figures(view.laws, alpha, parameters["tasks"])
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/parity/{experiment}/cells/{cell}")
def network_figures(
    store: StoreDep,
    experiment: ExperimentName,
    cell: Cell,
    tasks: Annotated[int, Query(ge=1, le=MAX_TASK_LINES)] = 12,
) -> Response:
    """Return the subtasks of one network."""
    detail = load_parity_cell(store, experiment, cell)
    return Response(payload(cell_figures(detail, tasks)), media_type="application/json")
