"""The page of Omnigrok: the networks of a run, and the training of one of them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.base import payload
from app.figures.omnigrok import cell_figures, run_figures
from app.pages.experiment_runs import RunsPage, list_runs, none_if_not_ready, setting_rows
from app.requests.dependencies import Cell, ExperimentName, StoreDep
from app.requests.experiments import OmnigrokQuery
from app.web.templating import render
from backend.experiments.modular_addition.spec import MODULAR_ADDITION
from backend.experiments.omnigrok.queries import load_omnigrok_run
from backend.experiments.omnigrok.spec import AXES, DATA_TITLES, OMNIGROK
from backend.experiments.omnigrok.views import OmnigrokCell, OmnigrokView
from backend.experiments.queries import load_cell, load_cell_of_kind
from backend.experiments.views import CellDetail, ExperimentRow
from compute.grokking.phases import GROKKING, PHASE_NAMES, PUBLISHED_GAP

router = APIRouter(include_in_schema=False)

MAX_ROWS = 200


@dataclass(frozen=True)
class NetworkRow:
    """A network; `delay` is the ratio of its test step to its train step, None if not later."""

    network: OmnigrokCell
    delay: float | None


@dataclass(frozen=True)
class NetworkTable:
    """The first networks of a run, their total number, and the columns that vary."""

    rows: list[NetworkRow]
    n_networks: int
    n_alphas: int
    has_seeds: bool
    has_decay: bool


@dataclass(frozen=True, kw_only=True)
class OmnigrokPage(RunsPage):
    """Variables of the Omnigrok page; `view` and `table` are None if there is no run."""

    template: ClassVar[str] = "omnigrok.html"

    title: str = "Omnigrok"
    query: OmnigrokQuery
    view: OmnigrokView | None
    table: NetworkTable | None
    number: int | None
    cell: CellDetail | None
    phases: dict[str, str]
    gap: int
    modular_addition: str


def _delay(cell: OmnigrokCell) -> float | None:
    if not cell.train_step or cell.test_step is None or cell.test_step <= cell.train_step:
        return None
    return cell.test_step / cell.train_step


def _default_cell(view: OmnigrokView) -> int | None:
    """Return the network with the longest delay of grokking, else one that is finished."""
    finished = [cell for cell in view.cells if cell.phase]
    grokking = [cell for cell in finished if cell.phase == GROKKING]
    if grokking:
        return max(grokking, key=lambda cell: _delay(cell) or 0).cell
    if view.landscape:
        best = view.landscape.best.alpha
        finished = sorted(finished, key=lambda cell: cell.alpha != best)
    return finished[0].cell if finished else None


def _table(view: OmnigrokView) -> NetworkTable:
    return NetworkTable(
        rows=[NetworkRow(cell, _delay(cell)) for cell in view.cells[:MAX_ROWS]],
        n_networks=len(view.cells),
        n_alphas=len({cell.alpha for cell in view.cells}),
        has_seeds=len({cell.seed for cell in view.cells}) > 1,
        has_decay=any(cell.weight_decay > 0 for cell in view.cells),
    )


def _settings(run: ExperimentRow) -> list[tuple[str, str]]:
    hidden = {"data", *(name for name in AXES if len(run.parameters[name]) > 1)}
    return [("Data", DATA_TITLES[run.parameters["data"]]), *setting_rows(run, hidden)]


@router.get("/omnigrok")
def omnigrok(
    request: Request, store: StoreDep, query: Annotated[OmnigrokQuery, Query()]
) -> Response:
    """Show a run of Omnigrok with one of its networks."""
    runs = list_runs(store, OMNIGROK, query.run)
    run = runs.current
    view = load_omnigrok_run(store, run.id, query.n_train, query.loss) if run else None
    number = query.cell if query.cell is not None or view is None else _default_cell(view)
    cell = None
    if run is not None and number is not None:
        cell = none_if_not_ready(load_cell, store, run.id, number)
    page = OmnigrokPage(
        runs=runs,
        query=query.model_copy(update={"run": run.id if run else None}),
        view=view,
        table=_table(view) if view else None,
        number=number,
        cell=cell,
        settings=_settings(run) if run else [],
        phases=PHASE_NAMES,
        gap=PUBLISHED_GAP,
        modular_addition=MODULAR_ADDITION.page,
        api=f"/api/v1/experiments{f'/{run.id}' if run else f'?kind={OMNIGROK.name}'}",
    )
    return render(request, page)


@router.get("/figures/omnigrok/{experiment}")
def run_figures_of(
    store: StoreDep, experiment: ExperimentName, query: Annotated[OmnigrokQuery, Query()]
) -> Response:
    """Return the landscape of a run, or its weight decay against time."""
    view = load_omnigrok_run(store, experiment, query.n_train, query.loss)
    figures = run_figures(view.landscape, view.law)
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/omnigrok/{experiment}/cells/{cell}")
def training_figures(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the training curves of one network."""
    params, detail, _ = load_cell_of_kind(store, OMNIGROK, experiment, cell)
    return Response(payload(cell_figures(params, detail)), media_type="application/json")
