"""Queries about sparse parity: the scaling laws of a run, and the subtasks of one network."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.experiments.queries import load_arrays_of_cells, load_cell_of_kind, load_run
from backend.experiments.sparse_parity.spec import SPARSE_PARITY, SparseParityParameters
from backend.experiments.sparse_parity.views import ParityAxis, ParityCell, ParityLaw, ParityView
from backend.experiments.views import CellRow
from backend.read.values import finite_or_none
from backend.store.database import Store
from compute.parity_fits import Law, TooFewPointsError, data_law, steps_law, width_law
from compute.parity_problem import Problem


def load_parity_run(store: Store, experiment: str) -> ParityView:
    """Return a run with the laws of its finished cells.

    Raises:
        NotFoundError: unknown run of sparse parity.
    """
    params: SparseParityParameters
    detail, params = load_run(store, SPARSE_PARITY, experiment)
    laws = [
        law
        for alpha in params.alphas
        for law in _laws_of_alpha(store, experiment, params, detail.cells, alpha)
    ]
    return ParityView(detail.experiment, detail.cells, tuple(laws))


def load_parity_cell(
    store: Store, experiment: str, cell: int, n_tasks: int | None = None
) -> ParityCell:
    """Return the losses of one network's subtasks and the steps at which they converged.

    `n_tasks` limits the losses to those of the most frequent subtasks.

    Raises:
        NotFoundError: unknown run or cell.
        NotReadyError: the cell is not finished.
    """
    params: SparseParityParameters
    params, detail, values = load_cell_of_kind(store, SPARSE_PARITY, experiment, cell)
    task_loss = values["task_loss"][:, :n_tasks]
    p = params.problem(detail.place["alpha"]).frequencies()
    convergence_steps = detail.summary["convergence_steps"]
    has_converged = np.array([step is not None for step in convergence_steps])
    law_steps = None
    if has_converged.any():
        times = np.array([max(step or 1, 1) for step in convergence_steps], np.float64)
        law_steps = np.exp(np.mean(np.log(times[has_converged] * p[has_converged]))) / p
    return ParityCell(
        experiment=experiment,
        cell=cell,
        place=detail.place,
        summary=detail.summary,
        steps=detail.steps,
        loss=detail.curves["loss"],
        train_loss=detail.curves["train_loss"],
        task_loss=tuple(tuple(finite_or_none(float(v)) for v in row) for row in task_loss.T),
        frequencies=tuple(p.tolist()),
        convergence_steps=tuple(convergence_steps),
        law_steps=None if law_steps is None else tuple(law_steps.tolist()),
    )


def _laws_of_alpha(
    store: Store,
    experiment: str,
    params: SparseParityParameters,
    cells: Sequence[CellRow],
    alpha: float,
) -> list[ParityLaw]:
    cells = [cell for cell in cells if cell.place["alpha"] == alpha]
    widest = max(params.widths)
    fresh = [cell for cell in cells if cell.place["samples"] == 0]
    fixed = [cell for cell in cells if cell.place["samples"] and cell.place["width"] == widest]
    problem, laws = params.problem(alpha), []
    if fresh and len(params.widths) > 1:
        laws.append(_law_over_cells(problem, "N", fresh, ("width", "final_loss", "learned_at_end")))
    if len({cell.place["samples"] for cell in fixed}) > 1:
        names = ("samples", "minimum_loss", "learned_at_minimum")
        laws.append(_law_over_cells(problem, "D", fixed, names))
    if fresh:
        finished = [cell for cell in fresh if cell.place["width"] == widest and cell.summary]
        laws.append(_law_over_steps(store, experiment, problem, finished))
    return laws


def _law_over_cells(
    problem: Problem, axis: ParityAxis, cells: Sequence[CellRow], names: tuple[str, str, str]
) -> ParityLaw:
    """Return a law with one point a cell; `names` are its x, its loss and its learned subtasks."""
    x_name, loss_name, learned_name = names
    points = [
        (cell.place[x_name], cell.summary[loss_name], cell.summary[learned_name])
        for cell in cells
        if cell.summary and cell.summary[loss_name] is not None
    ]
    x = np.array([point[0] for point in points], np.int64)
    loss = np.array([point[1] for point in points])
    n_learned = np.array([point[2] for point in points], np.int64)
    fit = width_law if axis == "N" else data_law
    return _fit_law(problem, axis, x, loss, lambda: fit(problem, x, loss, n_learned))


def _law_over_steps(
    store: Store, experiment: str, problem: Problem, cells: Sequence[CellRow]
) -> ParityLaw:
    """Return the law over the steps of the widest networks."""
    if not cells:
        return ParityLaw("S", problem.alpha, "the widest network is not finished")
    numbers = [cell.cell for cell in cells]
    curves = load_arrays_of_cells(store, experiment, numbers, ("step", "loss")).values()
    x = np.concatenate([np.zeros(0, np.int64), *(c["step"].astype(np.int64) for c in curves)])
    loss = np.concatenate([np.zeros(0), *(c["loss"].astype(np.float64) for c in curves)])
    convergence_steps = [
        [-1 if step is None else step for step in cell.summary["convergence_steps"]]
        for cell in cells
        if cell.summary
    ]
    steps = np.array(convergence_steps, np.int64).reshape(-1, problem.tasks)
    is_finite = np.isfinite(loss)
    return _fit_law(
        problem, "S", x, loss, lambda: steps_law(problem, x[is_finite], loss[is_finite], steps)
    )


def _fit_law(
    problem: Problem,
    axis: ParityAxis,
    x: NDArray[np.int64],
    loss: NDArray[np.float64],
    fit: Callable[[], Law],
) -> ParityLaw:
    point_x, point_loss = tuple(x.astype(float).tolist()), tuple(map(finite_or_none, loss.tolist()))
    try:
        law = fit()
    except TooFewPointsError as error:
        return ParityLaw(axis, problem.alpha, str(error), x=point_x, loss=point_loss)
    log_x = np.log(law.curve_x)
    limit_level = np.mean(np.log(law.curve_loss)) - law.limit * np.mean(log_x)
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
        learned=law.n_learned,
        x=point_x,
        loss=point_loss,
        drawn_x=tuple(law.curve_x.tolist()),
        drawn_fit=tuple(np.exp(law.intercept + law.measured * log_x).tolist()),
        drawn_sum=tuple(law.curve_loss.tolist()),
        drawn_limit=tuple(np.exp(limit_level + law.limit * log_x).tolist()),
    )
