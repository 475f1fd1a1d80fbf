"""The page of modular addition: how a transformer memorises, forms a clock and cleans up."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.figures.base import payload
from app.figures.clock import Beside, training_figures
from app.figures.clock_maps import look_figures
from app.pages.experiment_parts import runs_of
from app.requests.dependencies import MAX_INTEGER, Cell, ExperimentName, StoreDep
from app.requests.pages import Blank
from app.web.templating import query_string, render
from backend.errors import InvalidInputError, NotFoundError
from backend.experiments import queries as experiments
from backend.experiments.modular_addition.queries import KIND, ClockCell, clock_cell
from backend.experiments.registry import experiment_kind
from backend.experiments.views import CellRow, ExperimentDetail, ExperimentRow
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

MAX_BESIDE = 4
PRINCIPAL = "pc"
WORDS = {"weight_decay": "weight decay", "alpha": "α", "seed": "seed"}
_Number = Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank]


class LookQuery(BaseModel):
    """Which look at a network is drawn, and what of it."""

    model_config = ConfigDict(extra="ignore")

    step: _Number = None
    k: Annotated[Annotated[str, Field(pattern=r"^(pc|[1-9][0-9]{0,2})$")] | None, Blank] = None
    head: _Number = None
    neuron: _Number = None

    def changed(self, **changes: Any) -> str:
        """Return the query with the parameters that differ from their defaults, some replaced."""
        return query_string(**{**self.model_dump(exclude_defaults=True), **changes})


class ClockQuery(LookQuery):
    """Which run is shown, which of its networks, and which look at it."""

    run: Annotated[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None, Blank] = None
    cell: _Number = None


@dataclass(frozen=True)
class Look:
    """A look as it is drawn: numbers that the cell has."""

    number: int
    step: int
    moment_step: int
    k: int | None
    head: int | None
    neuron: int | None


def _known(name: str, value: int | None, found: Any) -> None:
    if value is not None and value not in found:
        words = ", ".join(str(one) for one in list(found)[:12]) or "none"
        raise InvalidInputError(f"{name} is {value}", f"This network has {words}", name)


def look_of(view: ClockCell, wanted: LookQuery) -> Look:
    """Return the look at or before a step, by default the last, in the plane of a frequency.

    Raises:
        InvalidInputError: a frequency, head or neuron that the cell does not keep.
    """
    steps = view.detail.steps
    number = len(steps) - 1
    if wanted.step is not None:
        number = max(0, int(np.searchsorted(steps, wanted.step, "right")) - 1)
    k = view.planes[0] if wanted.k is None and view.planes else None
    if wanted.k not in (None, PRINCIPAL):
        k = int(wanted.k or 0)
        _known("k", k, view.planes)
    _known("head", wanted.head, range(view.row.parameters["heads"]))
    _known("neuron", wanted.neuron, view.neurons)
    moment = int(view.arrays["moment"][view.moment(number)])
    return Look(number, steps[number], steps[moment], k, wanted.head, wanted.neuron)


def _varied(detail: ExperimentDetail) -> list[str]:
    """Return what sets the cells of a run apart; the weight decay if nothing does."""
    places = [cell.place for cell in detail.cells]
    names = [name for name in WORDS if len({place[name] for place in places}) > 1]
    return names or ["weight_decay"]


def _place(cell: CellRow, varied: list[str]) -> str:
    return ", ".join(f"{WORDS[name]} {cell.place[name]:g}" for name in varied)


@dataclass(frozen=True)
class Row:
    """A network in the list of those of a run."""

    cell: int
    name: str
    summary: dict[str, Any] | None


def _first_shown(detail: ExperimentDetail) -> int | None:
    """Return the first finished network, one that generalises if there is one."""
    done = [cell for cell in detail.cells if cell.summary]
    found = [cell for cell in done if (cell.summary or {})["test_step"] is not None]
    return found[0].cell if found else done[0].cell if done else None


def _view(store: Store, detail: ExperimentDetail, wanted: int | None) -> ClockCell | None:
    number = wanted if wanted is not None else _first_shown(detail)
    if number is None:
        return None
    if number >= len(detail.cells):
        raise NotFoundError(
            f"the run has no cell {number}", f"Its cells are 0 to {len(detail.cells) - 1}"
        )
    if detail.cells[number].summary is None:
        return None
    return clock_cell(store, detail.experiment.id, number)


def _about(row: ExperimentRow) -> list[tuple[str, str]]:
    """Return what all networks of a run share, as words."""
    fields = experiment_kind(KIND).schema.model_fields
    shared = [(name, value) for name, value in row.parameters.items() if name not in WORDS]

    def words(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"

    return [(str(fields[name].title or name), words(value)) for name, value in shared]


@router.get("/clock")
def clock(request: Request, store: StoreDep, wanted: Annotated[ClockQuery, Query()]) -> Response:
    """Show one network of a run over training, and its circuit at one look."""
    runs = runs_of(store, experiment_kind(KIND), wanted.run)
    current = runs.current
    detail = experiments.experiment(store, current.id) if current else None
    view = _view(store, detail, wanted.cell) if detail else None
    number = view.detail.cell if view else wanted.cell
    shown = wanted.model_copy(update={"run": current.id if current else None})
    look = look_of(view, wanted) if view and view.has_clock else None
    path = f"/figures/clock/{current.id}/cells/{number}" if current else ""
    asked = LookQuery(**wanted.model_dump(include=set(LookQuery.model_fields)))
    return render(
        request,
        "clock.html",
        section="experiments",
        title="Clock",
        runs=runs,
        wanted=shown,
        detail=detail,
        rows=_rows(detail) if detail else [],
        number=number,
        view=view,
        look=look,
        name=_place(detail.cells[view.detail.cell], _varied(detail)) if detail and view else "",
        facts=_about(current) if current else [],
        training=path + query_string(n=current.n_finished) if current else "",
        looks=f"{path}/looks{asked.changed()}",
        principal=PRINCIPAL,
        api=(
            f"/api/v1/experiments/{current.id}/cells/{number}"
            if current and view
            else "/api/v1/experiments?kind=modular_addition"
        ),
    )


def _rows(detail: ExperimentDetail) -> list[Row]:
    varied = _varied(detail)
    return [Row(cell.cell, _place(cell, varied), cell.summary) for cell in detail.cells]


def _beside(store: Store, view: ClockCell) -> list[Beside]:
    """Return test accuracies of other finished networks of the run, those nearest in the list."""
    detail = experiments.experiment(store, view.row.id)
    varied, here = _varied(detail), view.detail.cell
    done = sorted(
        (cell for cell in view.others if cell.summary), key=lambda cell: abs(cell.cell - here)
    )
    found = []
    for cell in done[:MAX_BESIDE]:
        steps, values = (
            experiments.cell_array(store, view.row.id, cell.cell, name)
            for name in ("step", "test_accuracy")
        )
        line = [float(value) if np.isfinite(value) else None for value in values]
        found.append(Beside(_place(cell, varied), steps.tolist(), line))
    return found


@router.get("/figures/clock/{experiment}/cells/{cell}")
def figures_of_training(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the figures of one network over its training."""
    view = clock_cell(store, experiment, cell)
    figures = training_figures(view, _beside(store, view))
    return Response(payload(figures), media_type="application/json")


@router.get("/figures/clock/{experiment}/cells/{cell}/looks")
def figures_of_look(
    store: StoreDep,
    experiment: ExperimentName,
    cell: Cell,
    wanted: Annotated[LookQuery, Query()],
) -> Response:
    """Return what one network was at one look."""
    view = clock_cell(store, experiment, cell)
    if not view.has_clock:
        raise NotFoundError(
            f"cell {cell} of experiment {experiment} has diverged", "See its curves"
        )
    look = look_of(view, wanted)
    figures = look_figures(view, look.number, look.k, look.head, look.neuron)
    return Response(payload(figures), media_type="application/json")
