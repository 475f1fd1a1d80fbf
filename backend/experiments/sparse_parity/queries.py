"""Runs of sparse parity: which laws their cells give, and what single cells have learned."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.errors import NotFoundError
from backend.experiments.queries import cell, cell_array, cell_curves, experiment
from backend.experiments.sparse_parity.spec import SPARSE_PARITY, problem_of
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw, ParityView
from backend.experiments.views import CellRow, ExperimentRow
from backend.read.values import finite_or_none
from backend.store.database import Store
from compute.parity_fits import Law, TooFewPointsError, data_law, steps_law, width_law
from compute.parity_problem import Problem


def parity(store: Store, name: str) -> ParityView:
    """Return a run with its laws, from the cells that are finished.

    Raises:
        NotFoundError: there is no such run of sparse parity.
    """
    detail = experiment(store, name)
    _check_kind(detail.experiment.kind, name)
    laws = tuple(
        found
        for alpha in detail.experiment.parameters["alphas"]
        for found in _laws(store, detail.experiment, detail.cells, alpha)
    )
    return ParityView(detail.experiment, detail.cells, laws)


def parity_cell(store: Store, name: str, number: int, tasks: int | None = None) -> ParityCell:
    """Return what one cell has learned and when.

    Args:
        store: with the run.
        name: of the run.
        number: of the cell.
        tasks: how many of the most frequent subtasks, all if None.

    Raises:
        NotFoundError: there is no such run or cell.
        NotReadyError: it is not finished.
    """
    found = cell(store, name, number)
    _check_kind(found.kind, name)
    whole = cell_array(store, name, number, "task_loss")
    task_loss = whole[:, : tasks or whole.shape[1]]
    parameters = experiment(store, name).experiment.parameters
    p = problem_of(parameters, found.place["alpha"]).frequencies()
    when = found.summary["convergence_steps"]
    done = np.array([step is not None for step in when])
    law = None
    if done.any():
        times = np.array([max(step or 1, 1) for step in when], np.float64)
        law = np.exp(np.mean(np.log(times[done] * p[done]))) / p
    return ParityCell(
        experiment=name,
        cell=number,
        place=found.place,
        summary=found.summary,
        steps=found.steps,
        loss=found.curves["loss"],
        train_loss=found.curves["train_loss"],
        task_loss=tuple(tuple(finite_or_none(float(v)) for v in row) for row in task_loss.T),
        frequencies=tuple(p.tolist()),
        convergence_steps=tuple(when),
        law_steps=None if law is None else tuple(law.tolist()),
    )


def _check_kind(kind: str, name: str) -> None:
    if kind != SPARSE_PARITY.name:
        raise NotFoundError(
            f"experiment {name} is no run of sparse parity", "See its own page instead"
        )


def _laws(
    store: Store, row: ExperimentRow, cells: Sequence[CellRow], alpha: float
) -> list[ParityLaw]:
    asked = row.parameters
    mine = [one for one in cells if one.place["alpha"] == alpha]
    widest = max(asked["widths"])
    fresh = [one for one in mine if one.place["samples"] == 0]
    fixed = [one for one in mine if one.place["samples"] and one.place["width"] == widest]
    problem = problem_of(asked, alpha)
    found = []
    if fresh and len(asked["widths"]) > 1:
        found.append(_over_cells(problem, "N", fresh, "width", "final_loss", "learned_at_end"))
    if len({one.place["samples"] for one in fixed}) > 1:
        names = ("samples", "minimum_loss", "learned_at_minimum")
        found.append(_over_cells(problem, "D", fixed, *names))
    if fresh:
        chosen = [one for one in fresh if one.place["width"] == widest and one.summary]
        found.append(_over_steps(store, row.id, problem, chosen))
    return found


def _over_cells(
    problem: Problem,
    axis: ParityAxis,
    cells: Sequence[CellRow],
    place: str,
    loss: str,
    learned: str,
) -> ParityLaw:
    done = [
        (one.place[place], one.summary[loss], one.summary[learned])
        for one in cells
        if one.summary and one.summary[loss] is not None
    ]
    x, y = np.array([one[0] for one in done], np.int64), np.array([one[1] for one in done])
    count = np.array([one[2] for one in done], np.int64)
    fit = width_law if axis == "N" else data_law
    return _made(problem, axis, x, y, lambda: fit(problem, x, y, count))


def _over_steps(store: Store, name: str, problem: Problem, cells: Sequence[CellRow]) -> ParityLaw:
    if not cells:
        return ParityLaw("S", problem.alpha, "the widest network is not finished")
    curves = cell_curves(store, name, [one.cell for one in cells], ("step", "loss"))
    found = list(curves.values())
    x = np.concatenate([np.zeros(0, np.int64), *(one["step"].astype(np.int64) for one in found)])
    y = np.concatenate([np.zeros(0), *(one["loss"].astype(np.float64) for one in found)])
    when = [
        [-1 if step is None else step for step in one.summary["convergence_steps"]]
        for one in cells
        if one.summary
    ]
    steps = np.array(when, np.int64).reshape(-1, problem.tasks)
    known = np.isfinite(y)
    return _made(problem, "S", x, y, lambda: steps_law(problem, x[known], y[known], steps))


def _made(
    problem: Problem,
    axis: ParityAxis,
    x: NDArray[np.int64],
    loss: NDArray[np.float64],
    fit: Callable[[], Law],
) -> ParityLaw:
    points = tuple(x.astype(float).tolist()), tuple(finite_or_none(one) for one in loss.tolist())
    try:
        law = fit()
    except TooFewPointsError as error:
        return ParityLaw(axis, problem.alpha, str(error), x=points[0], loss=points[1])
    drawn = np.log(law.drawn_x)
    middle = np.mean(np.log(law.drawn_sum)) - law.limit * np.mean(drawn)
    return ParityLaw(
        axis=axis,
        alpha=problem.alpha,
        measured=law.measured,
        predicted=law.predicted,
        limit=law.limit,
        agrees=law.agrees,
        window=law.window,
        n_points=law.n_points,
        scale=law.scale,
        learned=law.learned,
        x=points[0],
        loss=points[1],
        drawn_x=tuple(law.drawn_x.tolist()),
        drawn_fit=tuple(np.exp(law.level + law.measured * drawn).tolist()),
        drawn_sum=tuple(law.drawn_sum.tolist()),
        drawn_limit=tuple(np.exp(middle + law.limit * drawn).tolist()),
    )
