"""Queries about phase diagrams: phases at a gap, comparisons, effective theory, fractions."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.experiments.grokking import views
from backend.experiments.grokking.critical_fraction import CRITICAL_FRACTION
from backend.experiments.grokking.spec import (
    AXIS_TITLES,
    PHASE_DIAGRAM,
    CompletePhaseDiagramParameters,
)
from backend.experiments.queries import load_arrays_of_cells, load_cell_of_kind, load_run
from backend.experiments.views import CellRow
from backend.store.database import Store
from compute.grokking import parallelograms as theory
from compute.grokking.phases import PHASES, PUBLISHED_GAP, margins, phase_labels
from compute.grokking.problems import draw_split, n_train

# An axis is logarithmic from this ratio of its ends on.
MIN_LOG_RATIO = 20
# The slowest mode has decayed to 5 % after three time constants.
TIME_CONSTANTS = 3


def _axis(name: str, values: Sequence[float]) -> views.GridAxis:
    is_positive = all(value > 0 for value in values) and len(values) > 1
    is_log = is_positive and values[-1] / values[0] >= MIN_LOG_RATIO
    return views.GridAxis(name, AXIS_TITLES[name], tuple(values), is_log)


def load_phase_diagram(
    store: Store, experiment: str, gap: int = PUBLISHED_GAP
) -> views.PhaseDiagramView:
    """Return the phases of a grid at a gap; unfinished cells have none.

    Raises:
        NotFoundError: unknown phase diagram.
        InvalidInputError: the gap is not positive.
    """
    if gap < 1:
        raise InvalidInputError(f"gap is {gap}", "Choose 1 step or more", "gap")
    params: CompletePhaseDiagramParameters
    detail, params = load_run(store, PHASE_DIAGRAM, experiment)
    x, y = _axis(params.x, params.x_values), _axis(params.y, params.y_values)
    cells = _phase_cells(detail.cells, x, y, params.steps, gap)
    counts = Counter(cell.phase for cell in cells)
    return views.PhaseDiagramView(
        experiment=detail.experiment,
        x=x,
        y=y,
        budget=params.steps,
        gap=gap,
        counts={phase: counts[cast(views.Phase, phase)] for phase in PHASES}
        | {"test_only": sum(cell.test_only for cell in cells)},
        cells=cells,
    )


def _phase_cells(
    cells: Sequence[CellRow], x: views.GridAxis, y: views.GridAxis, budget: int, gap: int
) -> tuple[views.PhaseCell, ...]:
    def steps(name: str) -> NDArray[np.int64]:
        reached = [cell.summary[name] if cell.summary else None for cell in cells]
        return np.array([budget - 1 if step is None else step for step in reached], np.int64)

    train, test = steps("train_step"), steps("test_step")
    labels = phase_labels(train, test, budget, gap)
    label_margins = margins(train, test, budget, gap)

    def view(cell: CellRow) -> views.PhaseCell:
        i, summary = cell.cell, cell.summary
        row, column = divmod(i, len(x.values))
        return views.PhaseCell(
            cell=i,
            row=row,
            column=column,
            x=x.values[column],
            y=y.values[row],
            phase=cast(views.Phase, str(labels.phases[i])) if summary else None,
            test_only=bool(summary and labels.test_only[i]),
            train_step=summary["train_step"] if summary else None,
            test_step=summary["test_step"] if summary else None,
            rqi_step=summary["rqi_step"] if summary else None,
            margin=int(label_margins[i]) if summary else None,
        )

    return tuple(view(cell) for cell in cells)


def compare_phase_diagrams(
    store: Store, a: str, b: str, gap: int = PUBLISHED_GAP
) -> views.PhaseComparison:
    """Return two phase diagrams over the same axes, with the cells that both have.

    Raises:
        NotFoundError: unknown phase diagram.
        InvalidInputError: the axes differ.
    """
    left, right = load_phase_diagram(store, a, gap), load_phase_diagram(store, b, gap)
    if (left.x.name, left.y.name) != (right.x.name, right.y.name):
        raise InvalidInputError(
            f"diagram {b} is over {right.x.title} and {right.y.title}",
            f"Choose one over {left.x.title} and {left.y.title}",
            "cmp",
        )

    def place(cell: views.PhaseCell) -> tuple[str, str]:
        return f"{cell.x:.6g}", f"{cell.y:.6g}"

    right_cells = {place(cell): cell for cell in right.cells}
    pairs = tuple(
        views.PhasePair(cell.x, cell.y, cell.phase, right_cells[place(cell)].phase)
        for cell in left.cells
        if place(cell) in right_cells
    )
    finished = [pair for pair in pairs if pair.a and pair.b]
    changes = Counter(f"{pair.a}{pair.b}" for pair in finished if pair.a != pair.b)
    n_equal = sum(pair.a == pair.b for pair in finished)
    return views.PhaseComparison(left, right, pairs, n_equal, dict(sorted(changes.items())))


def load_effective_theory(store: Store, experiment: str, cell: int) -> views.EffectiveTheory:
    """Return the prediction of effective theory from the initial representation of a cell.

    Raises:
        NotFoundError: unknown cell, or a task without effective theory.
        NotReadyError: the cell is not finished, or its representation is not trained.
    """
    params: CompletePhaseDiagramParameters
    params, _, values = load_cell_of_kind(store, PHASE_DIAGRAM, experiment, cell)
    if params.task != "addition":
        raise NotFoundError(
            f"experiment {experiment} has no effective theory", "Only addition of numbers has one"
        )
    problem, setting = params.problem(), params.grid().settings()[cell]
    is_train = np.zeros(len(problem.pairs()), bool)
    is_train[draw_split(problem, setting.split_seed).order[: n_train(problem, setting)]] = True
    E = values["representation"][0].astype(np.float64)
    steps, rate = values["step"], setting.lr_representation
    if not rate > 0:
        raise NotReadyError("the representation has learning rate 0", "Choose another cell")
    run = theory.effective_dynamics(E, is_train, steps.astype(np.float64) * rate)
    scale = theory.time_scale(problem.p, is_train, rate)
    return views.EffectiveTheory(
        steps=tuple(steps.tolist()),
        representation=tuple(
            tuple(tuple(number) for number in numbers) for numbers in run.E.round(6).tolist()
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


def _drift(path: NDArray[np.float64]) -> float:
    """Return the largest relative change of sum and norm along a path; both are conserved."""
    norms = (path**2).sum(axis=(1, 2))
    sums = np.abs(path.sum(axis=1)).max(axis=1) / np.sqrt(norms[0])
    return float(max(np.abs(norms / norms[0] - 1).max(), np.abs(sums - sums[0]).max()))


def load_critical_fractions(store: Store, experiment: str) -> tuple[views.FractionCell, ...]:
    """Return the finished cells of a critical fraction, by p.

    Raises:
        NotFoundError: unknown experiment, or one of another kind.
    """
    detail, _ = load_run(store, CRITICAL_FRACTION, experiment)
    finished = [(cell, cell.summary) for cell in detail.cells if cell.summary is not None]
    if not finished:
        return ()
    names = ("n_train", "share")
    values = load_arrays_of_cells(store, experiment, [cell.cell for cell, _ in finished], names)
    return tuple(
        views.FractionCell(
            p=cell.place["p"],
            n_pairs=summary["n_pairs"],
            n_parallelograms=summary["n_parallelograms"],
            n_train=tuple(values[cell.cell]["n_train"].tolist()),
            share=tuple(values[cell.cell]["share"].round(6).tolist()),
            fraction=summary["fraction"],
        )
        for cell, summary in finished
    )


def load_accuracy_predictions(store: Store, experiment: str) -> list[views.AccuracyPrediction]:
    """Return the predicted accuracies of the finished cells; only addition has them.

    Raises:
        NotFoundError: unknown phase diagram.
    """
    params: CompletePhaseDiagramParameters
    detail, params = load_run(store, PHASE_DIAGRAM, experiment)
    if params.task != "addition":
        return []
    n_pairs = len(params.problem().pairs())
    points = []
    for cell in detail.cells:
        summary = cell.summary or {}
        predicted = summary.get("predicted_accuracy")
        train, test = (summary.get(f"final_{part}_accuracy") for part in ("train", "test"))
        if predicted is None or train is None or test is None:
            continue
        n_training = summary["n_train"]
        real = (train * n_training + test * (n_pairs - n_training)) / n_pairs
        points.append(views.AccuracyPrediction(predicted, real, cell.place))
    return points
