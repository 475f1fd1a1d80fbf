"""The page of Omnigrok: networks over initial size and weight decay, one of them over training."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.figures.base import payload
from app.figures.omnigrok import cell_figures, run_figures
from app.pages.experiment_parts import runs_of
from app.requests.dependencies import MAX_INTEGER, Cell, ExperimentName, StoreDep
from app.requests.pages import Blank
from app.web.templating import query_string, render
from backend.errors import NotReadyError
from backend.experiments import queries as experiments
from backend.experiments.omnigrok.queries import (
    OMNIGROK,
    Kept,
    OmnigrokCell,
    OmnigrokView,
    omnigrok,
)
from backend.experiments.omnigrok.spec import AXES, DATA_TITLES
from backend.experiments.registry import KINDS, experiment_kind
from backend.experiments.views import CellDetail, ExperimentRow
from backend.store.database import Store
from compute.grokking.phases import GROKKING, PHASE_NAMES, PUBLISHED_GAP

router = APIRouter(include_in_schema=False)

MODULAR = "modular_addition"
ROWS_SHOWN = 200


class OmnigrokQuery(BaseModel):
    """Which run is shown at which size of its data, and which of its networks."""

    model_config = ConfigDict(extra="ignore")

    run: Annotated[
        Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None,
        Blank,
    ] = None
    n_train: Annotated[Annotated[int, Field(ge=1, le=MAX_INTEGER)] | None, Blank] = None
    cell: Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank] = None
    loss: Annotated[Kept | None, Blank] = None

    def changed(self, **changes: Any) -> str:
        """Return the query with the parameters that differ from their defaults, some replaced."""
        return query_string(**{**self.model_dump(exclude_defaults=True), **changes})


@dataclass(frozen=True)
class Table:
    """The first networks of a run, how many there are, and which columns say something."""

    rows: tuple[OmnigrokCell, ...]
    n_all: int
    has_seeds: bool
    has_decay: bool


def delay(cell: OmnigrokCell) -> float | None:
    """Return how many times later than its train accuracy a network's test accuracy came."""
    if not cell.train_step or cell.test_step is None or cell.test_step <= cell.train_step:
        return None
    return cell.test_step / cell.train_step


def _first_shown(view: OmnigrokView) -> int | None:
    """Return the network that groks latest; if none does, one that is finished."""
    done = [cell for cell in view.cells if cell.phase]
    late = [cell for cell in done if cell.phase == GROKKING]
    if late:
        return max(late, key=lambda cell: delay(cell) or 0).cell
    if view.landscape:
        best = view.landscape.best.alpha
        done = sorted(done, key=lambda cell: cell.alpha != best)
    return done[0].cell if done else None


def _cell(store: Store, view: OmnigrokView | None, number: int | None) -> CellDetail | None:
    if view is None or number is None:
        return None
    try:
        return experiments.cell(store, view.experiment.id, number)
    except NotReadyError:
        return None


def _table(view: OmnigrokView) -> Table:
    return Table(
        rows=view.cells[:ROWS_SHOWN],
        n_all=len(view.cells),
        has_seeds=len({cell.seed for cell in view.cells}) > 1,
        has_decay=any(cell.weight_decay > 0 for cell in view.cells),
    )


def _about(row: ExperimentRow) -> list[tuple[str, str]]:
    """Return what all networks of a run share, as words."""
    asked = row.parameters
    fields = experiment_kind(OMNIGROK).schema.model_fields
    lines = [("Data", DATA_TITLES[asked["data"]])]
    for name, value in asked.items():
        if name in {"data", *(axis for axis in AXES if len(asked[axis]) > 1)} or value is None:
            continue
        lines.append((str(fields[name].title or name), _words(value)))
    return lines


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, dict):
        return f"{value['file']} ({value['sha256'][:10]})"
    return f"{value:,}" if isinstance(value, int) else str(value)


@router.get("/omnigrok")
def omnigrok_page(
    request: Request, store: StoreDep, wanted: Annotated[OmnigrokQuery, Query()]
) -> Response:
    """Show a run of Omnigrok with one of its networks."""
    runs = runs_of(store, experiment_kind(OMNIGROK), wanted.run)
    current = runs.current
    view = omnigrok(store, current.id, wanted.n_train, wanted.loss) if current else None
    number = wanted.cell if wanted.cell is not None or view is None else _first_shown(view)
    cell = _cell(store, view, number)
    return render(
        request,
        "omnigrok.html",
        section="experiments",
        title="Omnigrok",
        runs=runs,
        wanted=wanted.model_copy(update={"run": current.id if current else None}),
        view=view,
        table=_table(view) if view else None,
        number=number,
        cell=cell,
        facts=_about(current) if current else [],
        delay=delay,
        phases=PHASE_NAMES,
        gap=PUBLISHED_GAP,
        modular=KINDS[MODULAR].page if MODULAR in KINDS else None,
        api=f"/api/v1/experiments/{current.id}" if current else "/api/v1/experiments?kind=omnigrok",
    )


@router.get("/figures/omnigrok/{experiment}")
def figures_of_run(
    store: StoreDep,
    experiment: ExperimentName,
    n_train: Annotated[int | None, Query(ge=1, le=MAX_INTEGER)] = None,
    loss: Annotated[Kept | None, Query()] = None,
) -> Response:
    """Return the landscape of a run, or its weight decays by time."""
    figures = run_figures(omnigrok(store, experiment, n_train, loss))
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/omnigrok/{experiment}/cells/{cell}")
def figures_of_cell(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the curves of one network."""
    view = omnigrok(store, experiment)
    figures = cell_figures(view, experiments.cell(store, experiment, cell))
    return Response(payload(figures), media_type="application/json")
