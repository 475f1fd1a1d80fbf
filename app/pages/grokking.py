"""The page of phase diagrams: a map of four phases, one cell of it, finer grids, two grids."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.figures.base import payload
from app.figures.grokking import (
    WORDS,
    Which,
    cell_figures,
    contour_figure,
    fraction_figure,
    prediction_figure,
)
from app.figures.phase_map import phase_map_svg
from app.pages.experiment_parts import Runs, asked, runs_of
from app.requests.dependencies import MAX_INTEGER, Cell, ExperimentName, StoreDep
from app.requests.forms import FormFields
from app.requests.pages import Blank
from app.web.templating import query_string, render
from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.experiments import queries as experiments
from backend.experiments.grokking import queries as phase_diagrams
from backend.experiments.grokking.spec import MAX_SIDE
from backend.experiments.registry import experiment_kind
from backend.experiments.views import (
    CellDetail,
    EffectiveTheory,
    ExperimentRow,
    FractionCell,
    GridAxis,
    PhaseCell,
    PhaseDiagramView,
)
from backend.store.database import Store
from compute.grokking.grids import INTEGER_AXES
from compute.grokking.phases import PHASE_NAMES

router = APIRouter(include_in_schema=False)

KIND, FRACTION = "phase_diagram", "critical_fraction"
_Name = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Cell = Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank]
MANY_COLUMNS = 16


class GrokkingQuery(BaseModel):
    """Which run is shown at which gap, which of its cells, and beside which other run."""

    model_config = ConfigDict(extra="ignore")

    run: Annotated[_Name | None, Blank] = None
    gap: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = 1000
    cell: _Cell = None
    of: Which = "test"
    cmp: Annotated[_Name | None, Blank] = None
    fraction: Annotated[_Name | None, Blank] = None

    def changed(self, **changes: Any) -> str:
        """Return the query with the parameters that differ from their defaults, some replaced."""
        return query_string(**{**self.model_dump(exclude_defaults=True), **changes})


@dataclass(frozen=True)
class MapRow:
    """A row of the map, its cells from the left."""

    label: str
    cells: list[PhaseCell]


@dataclass(frozen=True)
class Map:
    """A phase diagram as it is drawn: rows from the highest y, labels of every n-th column."""

    view: PhaseDiagramView
    rows: list[MapRow]
    columns: list[str]
    current: int | None


def tick(value: float) -> str:
    """Return a value of an axis in few characters."""
    text = f"{value:.2g}"
    if "e" in text:
        digits, power = text.split("e")
        return f"{digits}e{int(power)}".replace("-", "−")
    return text


def _drawn(view: PhaseDiagramView, current: int | None) -> Map:
    width = len(view.x.values)
    every = 2 if width > MANY_COLUMNS else 1
    rows = [
        MapRow(tick(value), list(view.cells[row * width : (row + 1) * width]))
        for row, value in enumerate(view.y.values)
    ]
    columns = [tick(v) if i % every == 0 else "" for i, v in enumerate(view.x.values)]
    return Map(view, rows[::-1], columns, current)


def _first_shown(view: PhaseDiagramView) -> int | None:
    """Return a finished cell that has something to show: one that groks, if there is one."""
    for phase in ("G", "C", "M", "X"):
        for cell in view.cells:
            if cell.phase == phase:
                return cell.cell
    return None


def _theory(store: Store, name: str, cell: int) -> EffectiveTheory | None:
    try:
        return phase_diagrams.effective_theory(store, name, cell)
    except (NotFoundError, NotReadyError):
        return None


@router.get("/grokking")
def grokking(
    request: Request, store: StoreDep, wanted: Annotated[GrokkingQuery, Query()]
) -> Response:
    """Show a phase diagram with one of its cells, and a second one beside it if asked."""
    beside = experiment_kind(FRACTION)
    runs = runs_of(store, experiment_kind(KIND), wanted.run, beside)
    current = runs.current
    view = phase_diagrams.phase_diagram(store, current.id, wanted.gap) if current else None
    number = wanted.cell if wanted.cell is not None or view is None else _first_shown(view)
    cell = _cell(store, view, number)
    points = _predicted(store, view) if view else []
    shown = wanted.model_copy(update={"run": current.id if current else None})
    return render(
        request,
        "grokking.html",
        section="experiments",
        title="Grokking",
        runs=runs,
        wanted=shown,
        map=_drawn(view, number) if view else None,
        view=view,
        number=number,
        cell=cell,
        place=view.cells[cell.cell] if view and cell else None,
        theory=_theory(store, view.experiment.id, cell.cell) if view and cell else None,
        facts=_about(current) if current else [],
        compared=_compared(store, view, wanted) if view else None,
        others=_others(store, view) if view else [],
        contours=WORDS,
        can_contour=view is not None and min(len(view.x.values), len(view.y.values)) > 1,
        has_contour=view is not None and _has_contour(view, wanted.of),
        pearson=_pearson(points),
        n_points=len(points),
        phases=PHASE_NAMES,
        max_side=MAX_SIDE,
        finer=_finer,
        fractions=_fractions(store, wanted.fraction),
        tick=tick,
        api=(
            f"/api/v1/phase-diagrams/{view.experiment.id}"
            + query_string(gap=wanted.gap if wanted.gap != 1000 else None)
            if view
            else "/api/v1/experiments?kind=phase_diagram"
        ),
    )


def _cell(store: Store, view: PhaseDiagramView | None, number: int | None) -> CellDetail | None:
    if view is None or number is None:
        return None
    try:
        return experiments.cell(store, view.experiment.id, number)
    except NotReadyError:
        return None


def _has_contour(view: PhaseDiagramView, which: Which) -> bool:
    """Whether there is a contour to draw: a grid, of which a cell reached the threshold."""
    steps = [
        {"train": c.train_step, "test": c.test_step, "rqi": c.rqi_step}[which] for c in view.cells
    ]
    return min(len(view.x.values), len(view.y.values)) > 1 and any(s is not None for s in steps)


def _about(row: ExperimentRow) -> list[tuple[str, str]]:
    """Return what all cells of a run share, as words."""
    asked, kind = row.parameters, experiment_kind(KIND)
    hidden = {"x", "y", "x_values", "y_values", asked["x"], asked["y"], "task"}
    fields = kind.schema.model_fields
    task = "S3, products of permutations" if asked["task"] == "s3" else "addition"
    lines = [("task", task)]
    for name, value in asked.items():
        is_usual = value == fields[name].default and name not in {"seed", "split_seed", "steps"}
        if name in hidden or is_usual:
            continue
        words = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        words = f"{words:.4g}" if isinstance(words, float) else str(words)
        lines.append((str(fields[name].title or name), words))
    return lines


def _others(store: Store, view: PhaseDiagramView) -> list[ExperimentRow]:
    """Return runs over the same axes."""
    rows = experiments.list_experiments(store, KIND).experiments
    axes = (view.x.name, view.y.name)
    return [
        row
        for row in rows
        if row.id != view.experiment.id
        and (row.parameters["x"], row.parameters["y"]) == axes
        and row.n_finished
    ]


@dataclass(frozen=True)
class Compared:
    """A second map, and how many common cells have which other phase."""

    map: Map
    n_common: int
    n_equal: int
    changes: list[tuple[str, str, int]]


def _compared(store: Store, view: PhaseDiagramView, wanted: GrokkingQuery) -> Compared | None:
    if wanted.cmp is None:
        return None
    found = phase_diagrams.compare(store, view.experiment.id, wanted.cmp, wanted.gap)
    changes = [(PHASE_NAMES[pair[0]], PHASE_NAMES[pair[1]], n) for pair, n in found.changes.items()]
    known = sum(1 for pair in found.pairs if pair.a and pair.b)
    return Compared(_drawn(found.b, None), known, found.n_equal, changes)


@dataclass(frozen=True)
class Fractions:
    """Runs of the critical fraction, and the finished cells of the one that is shown."""

    runs: Runs
    cells: tuple[FractionCell, ...]


def _fractions(store: Store, wanted: str | None) -> Fractions | None:
    """Return the one that is asked for, by default the newest with results."""
    runs = runs_of(store, experiment_kind(FRACTION), wanted)
    if runs.current is None:
        return None
    # One that waits for its worker has nothing stored yet.
    cells = phase_diagrams.critical_fractions(store, runs.current.id)
    return Fractions(runs, cells)


def _predicted(store: Store, view: PhaseDiagramView) -> list[tuple[float, float, str]]:
    """Return (predicted accuracy, real accuracy, words) of the cells that have both."""
    if view.experiment.parameters["task"] != "addition":
        return []
    p = view.experiment.parameters["p"]
    pairs = p * (p + 1) // 2
    found = []
    for cell in experiments.experiment(store, view.experiment.id).cells:
        summary = cell.summary
        if not summary or summary.get("predicted_accuracy") is None:
            continue
        n, train, test = (
            summary[name] for name in ("n_train", "final_train_accuracy", "final_test_accuracy")
        )
        if train is None or test is None:
            continue
        real = (train * n + test * (pairs - n)) / pairs
        words = ", ".join(f"{name} {value:.3g}" for name, value in cell.place.items())
        found.append((summary["predicted_accuracy"], real, words))
    return found


def _pearson(points: list[tuple[float, float, str]]) -> float | None:
    x, y = ([float(point[i]) for point in points] for i in (0, 1))
    if len(points) < 3 or np.std(x) == 0 or np.std(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


@dataclass(frozen=True)
class Finer:
    """What the form for a finer grid is filled in with, for one axis."""

    low: str
    high: str
    count: int
    values: str


def _finer(axis: GridAxis, at: float | None) -> Finer:
    """Return the neighbourhood of a value, or the whole axis."""
    values = list(axis.values)
    low, high = 0, len(values) - 1
    if at is not None and len(values) > 2:
        i = values.index(at)
        low, high = max(0, i - 1), min(len(values) - 1, i + 1)
    words = ",".join(f"{value:.6g}" for value in values)
    return Finer(f"{values[low]:.4g}", f"{values[high]:.4g}", 9, words)


def _axis_values(
    fields: Mapping[str, str], axis: str, *, is_log: bool, is_whole: bool
) -> list[float]:
    """Return the values between two ends that a form names; whole ones once each."""
    try:
        low, high = (float(fields[f"{axis}_{end}"]) for end in ("low", "high"))
        count = int(fields[f"{axis}_count"])
    except (KeyError, ValueError) as error:
        raise InvalidInputError(
            f"the ends of axis {axis} are no numbers", "Send low, high and count", f"{axis}_low"
        ) from error
    if not (np.isfinite([low, high]).all() and 0 <= low < high and 2 <= count <= MAX_SIDE):
        raise InvalidInputError(
            f"axis {axis} from {low:g} to {high:g} in {count} values",
            f"Choose a low end of 0 or more under the high one, and 2 to {MAX_SIDE} values",
            f"{axis}_low",
        )
    is_log = is_log and low > 0
    spaced = np.geomspace(low, high, count) if is_log else np.linspace(low, high, count)
    if is_whole:
        return sorted({float(round(value)) for value in spaced})
    return [float(f"{value:.4g}") for value in spaced]


@router.post("/grokking/{experiment}/finer")
def finer(store: StoreDep, experiment: ExperimentName, fields: FormFields) -> Response:
    """Ask for a finer grid inside a rectangle of one."""
    view = phase_diagrams.phase_diagram(store, experiment)
    parameters = dict(view.experiment.parameters)
    for name, one in (("x", view.x), ("y", view.y)):
        parameters[f"{name}_values"] = _axis_values(
            fields, name, is_log=one.is_log, is_whole=one.name in INTEGER_AXES
        )
    return asked(store, experiment_kind(KIND), parameters)


@router.get("/grokking/{experiment}/map.svg")
def map_svg(
    store: StoreDep,
    experiment: ExperimentName,
    gap: Annotated[int, Query(ge=1, le=MAX_INTEGER)] = 1000,
) -> Response:
    """Return the phase diagram as a picture for papers."""
    view = phase_diagrams.phase_diagram(store, experiment, gap)
    return Response(phase_map_svg(view, tick), media_type="image/svg+xml")


@router.get("/figures/grokking/{experiment}")
def grid_figures(
    store: StoreDep,
    experiment: ExperimentName,
    of: Annotated[Literal["train", "test", "rqi"], Query()] = "test",
) -> Response:
    """Return steps over the grid, and predicted against real accuracies."""
    view = phase_diagrams.phase_diagram(store, experiment)
    figures = {
        "contour": contour_figure(view, of),
        "predicted": prediction_figure(_predicted(store, view)),
    }
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/critical-fraction/{experiment}")
def fraction_figures(store: StoreDep, experiment: ExperimentName) -> Response:
    """Return how often random training sets force a line."""
    cells = phase_diagrams.critical_fractions(store, experiment)
    return Response(payload({"fraction": fraction_figure(cells)}), media_type="application/json")


@router.get("/figures/grokking/{experiment}/cells/{cell}")
def figures_of_cell(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the curves of one cell."""
    detail = experiments.cell(store, experiment, cell)
    path = experiments.cell_array(store, experiment, cell, "representation")
    figures = cell_figures(detail, path, _theory(store, experiment, cell))
    return Response(payload(figures), media_type="application/json")
