"""The page of modular addition: the training of a transformer, and its circuit at one step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.figures.base import payload
from app.figures.clock import circuit_figures
from app.figures.modular_addition import OtherNetwork, training_figures
from app.pages.experiment_runs import NetworkRow, RunsPage, list_runs, setting_rows
from app.requests.dependencies import Cell, ExperimentName, StoreDep
from app.requests.experiments import PRINCIPAL_COMPONENTS, CircuitQuery, ModularAdditionQuery
from app.web.templating import query_string, render
from backend.errors import InvalidInputError, NotFoundError
from backend.experiments.modular_addition.queries import load_clock_cell
from backend.experiments.modular_addition.spec import MODULAR_ADDITION
from backend.experiments.modular_addition.views import ClockCell
from backend.experiments.queries import load_arrays_of_cells, load_experiment
from backend.experiments.views import CellRow, ExperimentDetail
from backend.read.values import finite_or_none
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

PAGE = MODULAR_ADDITION.page
FORMER_PAGE = "/clock"
MAX_OTHER_NETWORKS = 4
PLACE_NAMES = {"weight_decay": "weight decay", "alpha": "α", "seed": "seed"}


@dataclass(frozen=True)
class Circuit:
    """What to draw of a circuit: an evaluation, and parts that the cell has stored.

    `map_step` is the step of the neuron maps: the last ones at or before `step`.
    """

    evaluation: int
    step: int
    map_step: int
    k: int | None
    head: int | None
    neuron: int | None


@dataclass(frozen=True)
class Option:
    """A link that changes what is drawn of the circuit."""

    text: str
    href: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class ModularAdditionPage(RunsPage):
    """Variables of the page; `training` and `circuit_source` are the addresses of its plots.

    `rows` is empty if there is no run, `view` None if no network is shown.
    """

    template: ClassVar[str] = "modular_addition.html"

    title: str = "Modular addition"
    query: ModularAdditionQuery
    rows: tuple[NetworkRow, ...] = ()
    number: int | None = None
    view: ClockCell | None = None
    name: str = ""
    settings: list[tuple[str, str]] = field(default_factory=list)
    training: str = ""
    circuit: Circuit | None = None
    circuit_source: str = ""
    choices: Mapping[str, list[Option]] = field(default_factory=dict)


def _check_choice(name: str, value: int | None, options: Collection[int]) -> None:
    if value is not None and value not in options:
        texts = ", ".join(str(option) for option in list(options)[:12]) or "none"
        raise InvalidInputError(f"{name} is {value}", f"This network has {texts}", name)


def choose_circuit(view: ClockCell, query: CircuitQuery) -> Circuit:
    """Return the circuit at or before a step, by default the last, in the plane of a frequency.

    Raises:
        InvalidInputError: a frequency, head or neuron that the cell has not stored.
    """
    steps = view.detail.steps
    evaluation = len(steps) - 1
    if query.step is not None:
        evaluation = max(0, int(np.searchsorted(steps, query.step, "right")) - 1)
    k = view.planes[0] if query.k is None and view.planes else None
    if query.k not in (None, PRINCIPAL_COMPONENTS):
        k = int(query.k or 0)
        _check_choice("k", k, view.planes)
    _check_choice("head", query.head, range(view.experiment.parameters["heads"]))
    _check_choice("neuron", query.neuron, view.neurons)
    map_evaluation = int(view.arrays["moment"][view.map_index(evaluation)])
    return Circuit(
        evaluation, steps[evaluation], steps[map_evaluation], k, query.head, query.neuron
    )


def _choices(view: ClockCell, query: ModularAdditionQuery) -> dict[str, list[Option]]:
    """Return links to the stored planes, heads and neurons; a default has no parameter."""

    def options(name: str, values: Sequence[tuple[str, Any]]) -> list[Option]:
        current = getattr(query, name)
        return [
            Option(text, f"{PAGE}{query.changed(**{name: value})}#circuit-title", value == current)
            for text, value in values
        ]

    planes = [(f"k = {k}", str(k) if i else None) for i, k in enumerate(view.planes)]
    heads = range(view.experiment.parameters["heads"])
    return {
        "Circle": options("k", [*planes, ("principal components", PRINCIPAL_COMPONENTS)]),
        "Head": options("head", [("all", None), *((str(h), h) for h in heads)]),
        "Neuron": options("neuron", [("all", None), *((str(n), n) for n in view.neurons)]),
    }


def _network_names(detail: ExperimentDetail) -> list[str]:
    """Return the parameters of each cell that distinguish it from the others of its run."""
    places = [cell.place for cell in detail.cells]
    varied = [name for name in PLACE_NAMES if len({place[name] for place in places}) > 1]
    names = varied or ["weight_decay"]
    return [", ".join(f"{PLACE_NAMES[n]} {place[n]:g}" for n in names) for place in places]


def _default_cell(cells: Sequence[CellRow]) -> int | None:
    """Return the first finished network, one that generalises if there is one."""
    finished = [(cell.cell, cell.summary) for cell in cells if cell.summary]
    general = [cell for cell, summary in finished if summary["test_step"] is not None]
    return general[0] if general else finished[0][0] if finished else None


def _load_view(store: Store, detail: ExperimentDetail, number: int | None) -> ClockCell | None:
    if number is None:
        return None
    if number >= len(detail.cells):
        raise NotFoundError(
            f"the run has no cell {number}", f"Its cells are 0 to {len(detail.cells) - 1}"
        )
    is_finished = detail.cells[number].summary is not None
    return load_clock_cell(store, detail.experiment.id, number) if is_finished else None


@router.get(PAGE)
def modular_addition(
    request: Request, store: StoreDep, query: Annotated[ModularAdditionQuery, Query()]
) -> Response:
    """Show one network of a run over its training, and its circuit at one step."""
    runs = list_runs(store, MODULAR_ADDITION, query.run)
    query = query.model_copy(update={"run": runs.current.id if runs.current else None})
    api = f"/api/v1/experiments?kind={MODULAR_ADDITION.name}"
    if (run := runs.current) is None:
        return render(request, ModularAdditionPage(runs=runs, query=query, api=api))
    detail = load_experiment(store, run.id)
    names = _network_names(detail)
    number = query.cell if query.cell is not None else _default_cell(detail.cells)
    view = _load_view(store, detail, number)
    circuit = choose_circuit(view, query) if view and view.has_clock else None
    figures = f"/figures{PAGE}/{run.id}/cells/{number}"
    circuit_query = CircuitQuery(**query.model_dump(include=set(CircuitQuery.model_fields)))
    page = ModularAdditionPage(
        runs=runs,
        query=query,
        rows=tuple(NetworkRow(c.cell, names[c.cell], c.summary) for c in detail.cells),
        number=number,
        view=view,
        name=names[view.detail.cell] if view else "",
        settings=setting_rows(run, PLACE_NAMES),
        training=figures + query_string(n=run.n_finished),
        circuit=circuit,
        circuit_source=f"{figures}/circuit{circuit_query.changed()}",
        choices=_choices(view, query) if view and circuit else {},
        api=f"/api/v1/experiments/{run.id}/cells/{number}" if view else api,
    )
    return render(request, page)


@router.get(FORMER_PAGE)
def redirect_former_page(request: Request) -> Response:
    """Redirect from the former address of the page."""
    return RedirectResponse(PAGE + (f"?{request.url.query}" if request.url.query else ""), 301)


@router.get("/figures/clock/{experiment}/cells/{cell}")
@router.get("/figures/clock/{experiment}/cells/{cell}/looks")
def redirect_former_figures(request: Request, experiment: ExperimentName, cell: Cell) -> Response:
    """Redirect from the former addresses of the figures, for pages that are still open."""
    last = "/circuit" if request.url.path.endswith("/looks") else ""
    path = f"/figures{PAGE}/{experiment}/cells/{cell}{last}"
    return RedirectResponse(path + (f"?{request.url.query}" if request.url.query else ""), 301)


def _other_networks(store: Store, view: ClockCell) -> list[OtherNetwork]:
    """Return the test accuracy of other finished networks, the nearest ones in the list."""
    run = view.experiment.id
    names = _network_names(load_experiment(store, run))
    finished = [row.cell for row in view.others if row.summary]
    nearest = sorted(finished, key=lambda cell: abs(cell - view.detail.cell))[:MAX_OTHER_NETWORKS]
    curves = load_arrays_of_cells(store, run, nearest, ("step", "test_accuracy"))
    return [
        OtherNetwork(
            names[cell],
            curves[cell]["step"].tolist(),
            [finite_or_none(value) for value in curves[cell]["test_accuracy"]],
        )
        for cell in nearest
    ]


@router.get(f"/figures{PAGE}/{{experiment}}/cells/{{cell}}")
def figures_of_training(store: StoreDep, experiment: ExperimentName, cell: Cell) -> Response:
    """Return the figures of one network over its training."""
    view = load_clock_cell(store, experiment, cell)
    figures = training_figures(view, _other_networks(store, view))
    return Response(payload(figures), media_type="application/json")


@router.get(f"/figures{PAGE}/{{experiment}}/cells/{{cell}}/circuit")
def figures_of_circuit(
    store: StoreDep, experiment: ExperimentName, cell: Cell, query: Annotated[CircuitQuery, Query()]
) -> Response:
    """Return the figures of one network's circuit at one step."""
    view = load_clock_cell(store, experiment, cell)
    if not view.has_clock:
        raise NotFoundError(
            f"cell {cell} of experiment {experiment} has diverged", "See its curves"
        )
    circuit = choose_circuit(view, query)
    figures = circuit_figures(view, circuit.evaluation, circuit.k, circuit.head, circuit.neuron)
    return Response(payload(figures), media_type="application/json")
