"""The page of sparse parity: subtasks learned one by one, and the laws that they make."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.figures.base import payload
from app.figures.parity import cell_figures, law_figures
from app.pages.experiment_parts import runs_of
from app.requests.dependencies import MAX_INTEGER, Cell, ExperimentName, StoreDep
from app.requests.pages import Blank
from app.web.templating import query_string, render
from backend.errors import NotReadyError
from backend.experiments.registry import experiment_kind
from backend.experiments.sparse_parity import queries as runs_of_parity
from backend.experiments.sparse_parity.views import ParityCell, ParityView
from backend.experiments.views import CellRow, ExperimentRow
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

KIND = "sparse_parity"
MAX_ROWS = 100
MAX_TASKS = 60
AXIS_WORDS = {
    "N": "final loss over width",
    "S": "loss over steps",
    "D": "least loss over sample size",
}
_Name = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class ParityQuery(BaseModel):
    """Which run is shown, which of its networks, and how many of its subtasks as lines."""

    model_config = ConfigDict(extra="ignore")

    run: Annotated[_Name | None, Blank] = None
    cell: Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank] = None
    tasks: Annotated[int, Field(ge=1, le=MAX_TASKS)] = 12

    def changed(self, **changes: Any) -> str:
        """Return the query with the parameters that differ from their defaults, some replaced."""
        return query_string(**{**self.model_dump(exclude_defaults=True), **changes})


def cell_words(row: CellRow, cells: Sequence[CellRow]) -> str:
    """Return what sets a cell apart from the others of its run."""
    names = {"alpha": "α", "width": "width", "samples": "D", "seed": "seed"}
    found = []
    for name, word in names.items():
        if len({one.place[name] for one in cells}) > 1:
            value = row.place[name]
            found.append("fresh data" if name == "samples" and not value else f"{word} {value:,}")
    return ", ".join(found) or f"width {row.place['width']}"


def _first_shown(view: ParityView) -> int | None:
    """Return the finished cell that has learned most."""
    done = [one for one in view.cells if one.summary]
    best = max(done, key=lambda one: (one.summary or {})["converged"], default=None)
    return best.cell if best else None


def _cell(store: Store, view: ParityView | None, number: int | None) -> ParityCell | None:
    if view is None or number is None:
        return None
    try:
        return runs_of_parity.parity_cell(store, view.experiment.id, number, tasks=1)
    except NotReadyError:
        return None


def rows_shown(view: ParityView, alpha: float | None) -> list[CellRow]:
    """Return the cells of the table: all if they are few, else those of one alpha."""
    cells = list(view.cells)
    if len(cells) > MAX_ROWS and alpha is not None:
        cells = [one for one in cells if one.place["alpha"] == alpha]
    return cells[:MAX_ROWS]


def _about(row: ExperimentRow) -> list[tuple[str, str]]:
    """Return what all cells of a run share, as words."""
    fields = experiment_kind(KIND).schema.model_fields
    lists = {"alphas", "widths", "samples", "seeds"}
    found = []
    for name, value in row.parameters.items():
        if name in lists or (name.startswith("patience") and not row.parameters["patience"]):
            continue
        words = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        found.append((str(fields[name].title or name), words))
    return found


@router.get("/parity")
def parity(request: Request, store: StoreDep, wanted: Annotated[ParityQuery, Query()]) -> Response:
    """Show a run of sparse parity with one of its networks."""
    runs = runs_of(store, experiment_kind(KIND), wanted.run)
    current = runs.current
    view = runs_of_parity.parity(store, current.id) if current else None
    number = wanted.cell if wanted.cell is not None or view is None else _first_shown(view)
    cell = _cell(store, view, number)
    alphas = current.parameters["alphas"] if current else []
    alpha = cell.place["alpha"] if cell else (alphas[0] if alphas else None)
    laws = list(view.laws) if view else []
    return render(
        request,
        "parity.html",
        section="experiments",
        title="Sparse parity",
        runs=runs,
        wanted=wanted.model_copy(update={"run": current.id if current else None}),
        view=view,
        cell=cell,
        alpha=alpha,
        laws=laws,
        shown_laws=[law for law in laws if law.alpha == alpha],
        several=[
            axis
            for axis in AXIS_WORDS
            if len({law.alpha for law in laws if law.axis == axis and law.why_not is None}) > 1
        ],
        axis_words=AXIS_WORDS,
        rows=rows_shown(view, alpha) if view else [],
        words=cell_words,
        facts=_about(current) if current else [],
        max_tasks=MAX_TASKS,
        api=f"/api/v1/parity/{current.id}" if current else f"/api/v1/experiments?kind={KIND}",
    )


@router.get("/figures/parity/{experiment}")
def run_figures(
    store: StoreDep,
    experiment: ExperimentName,
    alpha: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """Return the laws of a run at one alpha, the first if none is named."""
    view = runs_of_parity.parity(store, experiment)
    parameters = view.experiment.parameters
    chosen = parameters["alphas"][0] if alpha is None else alpha
    figures = law_figures(view.laws, chosen, parameters["tasks"])
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/parity/{experiment}/cells/{cell}")
def figures_of_cell(
    store: StoreDep,
    experiment: ExperimentName,
    cell: Cell,
    tasks: Annotated[int, Query(ge=1, le=MAX_TASKS)] = 12,
) -> Response:
    """Return what one network learned when."""
    found = runs_of_parity.parity_cell(store, experiment, cell)
    return Response(payload(cell_figures(found, tasks)), media_type="application/json")
