"""Phase diagrams: phases of a grid at a gap, two grids side by side, theory of a cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.experiments.grokking.spec import AXIS_TITLES, grid_of, problem_of
from backend.experiments.queries import cell_arrays, experiment
from backend.experiments.views import (
    CellRow,
    EffectiveTheory,
    FractionCell,
    GridAxis,
    Phase,
    PhaseCell,
    PhaseComparison,
    PhaseDiagramView,
    PhasePair,
)
from backend.store.database import Store
from compute.grokking import parallelograms as theory
from compute.grokking.phases import PUBLISHED_GAP, margins, phase_labels
from compute.grokking.problems import n_train, split_of

PHASE_DIAGRAM = "phase_diagram"
# From this ratio of its ends on, an axis is drawn logarithmic.
LOG_RATIO = 20
# Of the slowest mode: what is left of it then is 5 %.
TIME_CONSTANTS = 3


def _axis(parameters: Mapping[str, Any], which: str) -> GridAxis:
    values = tuple(float(value) for value in parameters[f"{which}_values"])
    positive = [value for value in values if value > 0]
    is_log = len(positive) == len(values) > 1 and values[-1] / values[0] >= LOG_RATIO
    name = parameters[which]
    return GridAxis(name, AXIS_TITLES[name], values, is_log)


def _steps(cells: Sequence[CellRow], name: str, budget: int) -> NDArray[np.int64]:
    reached = [cell.summary[name] if cell.summary else None for cell in cells]
    return np.array([budget - 1 if step is None else step for step in reached], np.int64)


def phase_diagram(store: Store, name: str, gap: int = PUBLISHED_GAP) -> PhaseDiagramView:
    """Return the phases of a grid at a gap; cells that are not finished have none.

    Raises:
        NotFoundError: there is no such phase diagram.
        InvalidInputError: the gap is not positive.
    """
    if gap < 1:
        raise InvalidInputError(f"gap is {gap}", "Choose 1 step or more", "gap")
    detail = experiment(store, name)
    if detail.experiment.kind != PHASE_DIAGRAM:
        raise NotFoundError(
            f"experiment {name} is no phase diagram", f"See {detail.experiment.page}"
        )
    parameters, cells = detail.experiment.parameters, detail.cells
    budget, x, y = parameters["steps"], _axis(parameters, "x"), _axis(parameters, "y")
    train, test = (_steps(cells, f"{which}_step", budget) for which in ("train", "test"))
    labels = phase_labels(train, test, budget, gap)
    away = margins(train, test, budget, gap)
    done = np.array([cell.summary is not None for cell in cells])
    counts = {phase: int(((labels.phases == phase) & done).sum()) for phase in ("C", "G", "M", "X")}
    counts["test_only"] = int((labels.test_only & done).sum())

    def view(cell: CellRow) -> PhaseCell:
        i = cell.cell
        row, column = divmod(i, len(x.values))
        summary = cell.summary
        return PhaseCell(
            cell=i,
            row=row,
            column=column,
            x=x.values[column],
            y=y.values[row],
            phase=cast(Phase, str(labels.phases[i])) if summary else None,
            test_only=bool(summary and labels.test_only[i]),
            train_step=summary["train_step"] if summary else None,
            test_step=summary["test_step"] if summary else None,
            rqi_step=summary["rqi_step"] if summary else None,
            margin=int(away[i]) if summary else None,
        )

    return PhaseDiagramView(
        experiment=detail.experiment,
        x=x,
        y=y,
        budget=budget,
        gap=gap,
        counts=counts,
        cells=tuple(view(cell) for cell in cells),
    )


def compare(store: Store, a: str, b: str, gap: int = PUBLISHED_GAP) -> PhaseComparison:
    """Return two phase diagrams over the same axes, with the cells that both have.

    Raises:
        InvalidInputError: they have other axes.
    """
    left, right = phase_diagram(store, a, gap), phase_diagram(store, b, gap)
    if (left.x.name, left.y.name) != (right.x.name, right.y.name):
        raise InvalidInputError(
            f"diagram {b} is over {right.x.title} and {right.y.title}",
            f"Choose one over {left.x.title} and {left.y.title}",
            "cmp",
        )
    there = {(_place(cell.x), _place(cell.y)): cell for cell in right.cells}
    pairs = tuple(
        PhasePair(cell.x, cell.y, cell.phase, other.phase)
        for cell in left.cells
        if (other := there.get((_place(cell.x), _place(cell.y)))) is not None
    )
    known = [pair for pair in pairs if pair.a and pair.b]
    changes = Counter(f"{pair.a}{pair.b}" for pair in known if pair.a != pair.b)
    return PhaseComparison(
        left, right, pairs, sum(pair.a == pair.b for pair in known), dict(sorted(changes.items()))
    )


def _place(value: float) -> str:
    return f"{value:.6g}"


def effective_theory(store: Store, name: str, number: int) -> EffectiveTheory:
    """Return how effective theory lets a cell's representation evolve from its start.

    Raises:
        NotFoundError: there is no such cell, or it is of a task that the theory does not know.
        NotReadyError: it is not finished.
    """
    detail = experiment(store, name)
    parameters = detail.experiment.parameters
    if detail.experiment.kind != PHASE_DIAGRAM or parameters["task"] != "addition":
        raise NotFoundError(
            f"experiment {name} has no effective theory", "It is one of the addition of numbers"
        )
    values = cell_arrays(store, name, number)
    problem, setting = problem_of(parameters), grid_of(parameters).settings()[number]
    is_train = np.zeros(len(problem.pairs()), bool)
    is_train[split_of(problem, setting.split_seed).order[: n_train(problem, setting)]] = True
    E = values["representation"][0].astype(np.float64)
    steps, rate = values["step"], setting.lr_representation
    if not rate > 0:
        raise NotReadyError("the representation has no learning rate", "Choose another cell")
    run = theory.effective_dynamics(E, is_train, steps.astype(np.float64) * rate)
    scale = theory.time_scale(problem.p, is_train, rate)
    return EffectiveTheory(
        steps=tuple(steps.tolist()),
        representation=tuple(
            tuple(tuple(number) for number in look) for look in run.E.round(6).tolist()
        ),
        loss=tuple(run.loss.tolist()),
        drift=_drift(run.E),
        n_parallelograms=len(theory.parallelograms(problem.p).outer),
        n_in_training=int(theory.parallelogram_mask(problem.p, is_train).sum()),
        nullity=theory.nullity(problem.p, is_train),
        lambda3=scale.lambda3 or None,
        time_constant=scale.steps,
        grokking_step=None if scale.steps is None else TIME_CONSTANTS * scale.steps,
    )


def critical_fractions(store: Store, name: str) -> tuple[FractionCell, ...]:
    """Return the finished cells of a critical fraction, by p.

    Raises:
        NotFoundError: there is no such experiment, or it is of another kind.
    """
    detail = experiment(store, name)
    if detail.experiment.kind != "critical_fraction":
        raise NotFoundError(
            f"experiment {name} is no critical fraction", f"See {detail.experiment.page}"
        )
    found = []
    for cell in detail.cells:
        if cell.summary is None:
            continue
        values = cell_arrays(store, name, cell.cell)
        found.append(
            FractionCell(
                p=cell.place["p"],
                n_pairs=cell.summary["n_pairs"],
                n_parallelograms=cell.summary["n_parallelograms"],
                n_train=tuple(values["n_train"].tolist()),
                share=tuple(values["share"].round(6).tolist()),
                fraction=cell.summary["fraction"],
            )
        )
    return tuple(found)


def _drift(path: NDArray[np.float64]) -> float:
    """Return the largest relative change of sum and norm along a path; both are conserved."""
    norms = (path**2).sum(axis=(1, 2))
    sums = np.abs(path.sum(axis=1)).max(axis=1) / np.sqrt(norms[0])
    return float(max(np.abs(norms / norms[0] - 1).max(), np.abs(sums - sums[0]).max()))
