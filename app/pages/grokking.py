"""The page of phase diagrams: the map of phases, one of its cells, and a second map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.figures.base import payload
from app.figures.grokking import cell_figures
from app.figures.phase_diagram import (
    THRESHOLD_TITLES,
    contour_figure,
    fraction_figure,
    prediction_figure,
    threshold_step,
)
from app.figures.phase_map import axis_number, cell_text, phase_map_svg
from app.pages.experiment_runs import Runs, RunsPage, list_runs, none_if_not_ready, setting_rows
from app.pages.finer_grid import AxisFields, axis_fields
from app.requests.dependencies import Cell, ExperimentName, StoreDep
from app.requests.experiments import Gap, GrokkingQuery
from app.web.templating import grouped, query_string, render
from backend.errors import NotFoundError
from backend.experiments.grokking import queries, views
from backend.experiments.grokking.critical_fraction import CRITICAL_FRACTION
from backend.experiments.grokking.spec import MAX_SIDE, PHASE_DIAGRAM, PhaseDiagramParameters
from backend.experiments.queries import list_experiments, load_cell, load_cell_of_kind
from backend.experiments.views import CellDetail, ExperimentRow
from backend.store.database import Store
from compute.grokking.phases import PHASE_NAMES, PUBLISHED_GAP

router = APIRouter(include_in_schema=False)

MANY_COLUMNS = 16
MIN_CORRELATED = 3


@dataclass(frozen=True)
class MapCell:
    """A cell of the map; `title` describes it on hover, `href` shows it."""

    cell: views.PhaseCell
    text: str
    title: str
    href: str


@dataclass(frozen=True)
class PhaseMap:
    """A phase diagram as a table: rows (label, cells) from the highest y, labels of columns."""

    x_title: str
    y_title: str
    x_values: list[str]
    x_ticks: list[str]
    rows: list[tuple[str, list[MapCell]]]
    current: int | None


def phase_map(
    view: views.PhaseDiagramView, current: int | None, href: Callable[[int], str]
) -> PhaseMap:
    """Return the table of a phase diagram; `href` returns the address of a cell."""
    width = len(view.x.values)
    x_values = [axis_number(value) for value in view.x.values]
    tick_step = 2 if width > MANY_COLUMNS else 1
    cells = [
        MapCell(cell, cell_text(cell), _cell_title(view, cell), href(cell.cell))
        for cell in view.cells
    ]
    rows = [
        (axis_number(value), cells[row * width : (row + 1) * width])
        for row, value in enumerate(view.y.values)
    ]
    return PhaseMap(
        view.x.title,
        view.y.title,
        x_values,
        [text if i % tick_step == 0 else "" for i, text in enumerate(x_values)],
        rows[::-1],
        current,
    )


def _step_text(step: int | None) -> str:
    return "never" if step is None else grouped(step)


def _cell_title(view: views.PhaseDiagramView, cell: views.PhaseCell) -> str:
    if cell.phase is None:
        return "not finished"
    place = f"{view.y.title} {axis_number(cell.y)}, {view.x.title} {axis_number(cell.x)}"
    steps = f"Train {_step_text(cell.train_step)}, test {_step_text(cell.test_step)}"
    flag = "; test without train" if cell.test_only else ""
    return f"{PHASE_NAMES[cell.phase]}: {place}. {steps}{flag}"


@dataclass(frozen=True)
class CurrentCell:
    """The finished cell that the page shows, with its prediction of effective theory."""

    place: views.PhaseCell
    detail: CellDetail
    theory: views.EffectiveTheory | None
    x: str
    y: str


@dataclass(frozen=True)
class MapComparison:
    """A second map, and the number of common cells by (phase here, phase there)."""

    label: str
    map: PhaseMap
    n_common: int
    n_equal: int
    changes: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Fractions:
    """Runs of the critical fraction, and the finished cells of the current one."""

    runs: Runs
    cells: tuple[views.FractionCell, ...]


@dataclass(frozen=True, kw_only=True)
class GrokkingPage(RunsPage):
    """Variables of the Grokking page; `view` and `map` are None if there is no run."""

    template: ClassVar[str] = "grokking.html"

    title: str = "Grokking"
    query: GrokkingQuery
    view: views.PhaseDiagramView | None
    map: PhaseMap | None
    number: int | None
    cell: CurrentCell | None
    comparison: MapComparison | None
    comparable: list[ExperimentRow]
    thresholds: dict[views.Threshold, str]
    is_grid: bool
    has_contour: bool
    n_points: int
    pearson: float | None
    phases: dict[str, str]
    max_side: int
    finer: list[AxisFields]
    fractions: Fractions | None


@router.get("/grokking")
def grokking(
    request: Request, store: StoreDep, query: Annotated[GrokkingQuery, Query()]
) -> Response:
    """Show a phase diagram with one of its cells, and a second one beside it on request."""
    runs = list_runs(store, PHASE_DIAGRAM, query.run, CRITICAL_FRACTION)
    run = runs.current
    view = queries.load_phase_diagram(store, run.id, query.gap) if run else None
    number = query.cell if query.cell is not None or view is None else _default_cell(view)
    cell = _current_cell(store, view, number) if view and number is not None else None
    points = queries.load_accuracy_predictions(store, run.id) if run else []
    query = query.model_copy(update={"run": run.id if run else None})
    is_grid = view is not None and min(len(view.x.values), len(view.y.values)) > 1
    page = GrokkingPage(
        runs=runs,
        query=query,
        view=view,
        map=phase_map(view, number, lambda i: f"/grokking{query.changed(cell=i)}")
        if view
        else None,
        number=number,
        cell=cell,
        settings=_settings(run) if run else [],
        comparison=_comparison(store, view, query.cmp, query.gap) if view and query.cmp else None,
        comparable=_comparable_runs(store, view) if view else [],
        thresholds=dict(THRESHOLD_TITLES),
        is_grid=is_grid,
        has_contour=view is not None and is_grid and _is_reached(view, query.of),
        n_points=len(points),
        pearson=_pearson(points),
        phases=PHASE_NAMES,
        max_side=MAX_SIDE,
        finer=axis_fields(view, cell.place if cell else None) if view else [],
        fractions=_fractions(store, query.fraction),
        api=(
            f"/api/v1/phase-diagrams/{run.id}"
            + query_string(gap=query.gap if query.gap != PUBLISHED_GAP else None)
            if run
            else f"/api/v1/experiments?kind={PHASE_DIAGRAM.name}"
        ),
    )
    return render(request, page)


def _default_cell(view: views.PhaseDiagramView) -> int | None:
    """Return a finished cell, one that groks if there is one."""
    for phase in ("G", "C", "M", "X"):
        for cell in view.cells:
            if cell.phase == phase:
                return cell.cell
    return None


def _current_cell(store: Store, view: views.PhaseDiagramView, number: int) -> CurrentCell | None:
    run = view.experiment.id
    detail = none_if_not_ready(load_cell, store, run, number)
    if detail is None:
        return None
    place = view.cells[number]
    theory = _load_theory(store, run, number)
    return CurrentCell(place, detail, theory, axis_number(place.x), axis_number(place.y))


def _load_theory(store: Store, experiment: str, cell: int) -> views.EffectiveTheory | None:
    try:
        return none_if_not_ready(queries.load_effective_theory, store, experiment, cell)
    except NotFoundError:
        return None


def _is_reached(view: views.PhaseDiagramView, threshold: views.Threshold) -> bool:
    return any(threshold_step(cell, threshold) is not None for cell in view.cells)


def _settings(run: ExperimentRow) -> list[tuple[str, str]]:
    """Return the task, the main parameters, and all others that differ from their defaults."""
    parameters, fields = run.parameters, PhaseDiagramParameters.model_fields
    hidden = {"x", "y", "x_values", "y_values", parameters["x"], parameters["y"], "task"}
    hidden |= {
        name
        for name, value in parameters.items()
        if value == fields[name].default and name not in {"seed", "split_seed", "steps"}
    }
    task = "S3, products of permutations" if parameters["task"] == "s3" else "addition"
    return [("task", task), *setting_rows(run, hidden)]


def _comparable_runs(store: Store, view: views.PhaseDiagramView) -> list[ExperimentRow]:
    """Return other runs over the same axes with finished cells."""
    axes = (view.x.name, view.y.name)
    return [
        row
        for row in list_experiments(store, PHASE_DIAGRAM.name).experiments
        if row.id != view.experiment.id
        and (row.parameters["x"], row.parameters["y"]) == axes
        and row.n_finished
    ]


def _comparison(store: Store, view: views.PhaseDiagramView, other: str, gap: int) -> MapComparison:
    result = queries.compare_phase_diagrams(store, view.experiment.id, other, gap)
    return MapComparison(
        label=result.b.experiment.label,
        map=phase_map(result.b, None, lambda i: f"/grokking?run={other}&cell={i}"),
        n_common=sum(1 for pair in result.pairs if pair.a and pair.b),
        n_equal=result.n_equal,
        changes=[
            (PHASE_NAMES[pair[0]], PHASE_NAMES[pair[1]], n) for pair, n in result.changes.items()
        ],
    )


def _fractions(store: Store, selected: str | None) -> Fractions | None:
    """Return the selected critical fraction, by default the newest with results."""
    runs = list_runs(store, CRITICAL_FRACTION, selected)
    if runs.current is None:
        return None
    return Fractions(runs, queries.load_critical_fractions(store, runs.current.id))


def _pearson(points: list[views.AccuracyPrediction]) -> float | None:
    predicted, real = [point.predicted for point in points], [point.real for point in points]
    if len(points) < MIN_CORRELATED or np.std(predicted) == 0 or np.std(real) == 0:
        return None
    return float(np.corrcoef(predicted, real)[0, 1])


@router.get("/grokking/{experiment}/map.svg")
def map_image(store: StoreDep, experiment: ExperimentName, gap: Gap = PUBLISHED_GAP) -> Response:
    """Return the phase diagram as an image for papers."""
    view = queries.load_phase_diagram(store, experiment, gap)
    return Response(phase_map_svg(view), media_type="image/svg+xml")


@router.get("/figures/grokking/{experiment}")
def grid_figures(
    store: StoreDep, experiment: ExperimentName, of: views.Threshold = "test"
) -> Response:
    """Return the steps until a threshold over the grid, and predicted against real accuracy."""
    figures = {
        "contour": contour_figure(queries.load_phase_diagram(store, experiment), of),
        "predicted": prediction_figure(queries.load_accuracy_predictions(store, experiment)),
    }
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/critical-fraction/{experiment}")
def fraction_figures(store: StoreDep, experiment: ExperimentName) -> Response:
    """Return the share of random training sets that force a line."""
    cells = queries.load_critical_fractions(store, experiment)
    return Response(payload({"fraction": fraction_figure(cells)}), media_type="application/json")


@router.get("/figures/grokking/{experiment}/cells/{cell}")
def training_figures(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the training curves of one cell."""
    _, detail, arrays = load_cell_of_kind(store, PHASE_DIAGRAM, experiment, cell)
    theory = _load_theory(store, experiment, cell)
    figures = cell_figures(detail, arrays["representation"], theory)
    return Response(payload(figures), media_type="application/json")
