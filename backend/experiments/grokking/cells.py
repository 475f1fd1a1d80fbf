"""Computes the cells of phase diagrams: toy networks in one stack, with their effective theory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import (
    CellContext,
    CellResult,
    count_evals,
    final_values,
    step_or_none,
    stored_curve,
)
from backend.experiments.grokking.spec import CompletePhaseDiagramParameters
from compute.ensembles.trainer import Trainer, TrainResult
from compute.grokking import parallelograms as theory
from compute.grokking.addition import AdditionNetworks
from compute.grokking.phase_diagram_setting import train_config
from compute.grokking.problems import Problem, Setting, draw_split, n_train


def compute_cells(
    params: CompletePhaseDiagramParameters, cells: Sequence[int], context: CellContext
) -> list[CellResult]:
    """Train some cells of a grid in one stack."""
    problem, grid_settings = params.problem(), params.grid().settings()
    settings = [grid_settings[cell] for cell in cells]
    networks = AdditionNetworks(problem, settings, context.device)
    config = train_config(params.steps, stop_early=params.stop_early)
    result = context.train(Trainer(networks, networks.optimizer(), config))
    return [
        _result(problem, settings[row], config.eval_steps, result, cell, row)
        for row, cell in enumerate(cells)
    ]


def _result(
    problem: Problem,
    setting: Setting,
    eval_steps: NDArray[Any],
    result: TrainResult,
    cell: int,
    row: int,
) -> CellResult:
    stopped = int(result.stop_steps[row])
    n_evals = count_evals(eval_steps, stopped)
    arrays: dict[str, Any] = {
        name: stored_curve(values[row], n_evals) for name, values in result.curves.items()
    }
    n_steps = int(eval_steps[-1]) + 1  # the last step is always evaluated
    summary: dict[str, Any] = {
        **{f"{k}_step": step_or_none(s[row], n_steps) for k, s in result.threshold_steps.items()},
        **final_values(arrays),
        "stopped": stopped,
        **_theory_summary(problem, setting, arrays["representation"][-1]),
    }
    return CellResult(cell, summary, {"step": eval_steps[:n_evals].astype(np.int32), **arrays})


def _theory_summary(problem: Problem, setting: Setting, E: NDArray[Any]) -> dict[str, Any]:
    """Return the predictions of effective theory for a cell; only addition has them."""
    size = n_train(problem, setting)
    if problem.task != "addition":
        return {"n_train": size}
    is_train = np.zeros(len(problem.pairs()), bool)
    is_train[draw_split(problem, setting.split_seed).order[:size]] = True
    rate = setting.lr_representation
    scale = theory.time_scale(problem.p, is_train, rate) if rate > 0 else None
    is_finite = np.isfinite(E).all()
    return {
        "n_train": size,
        "nullity": theory.nullity(problem.p, is_train),
        "lambda3": scale.lambda3 if scale else None,
        "time_constant": scale.steps if scale else None,
        "ideal_accuracy": theory.ideal_accuracy(problem.p, is_train),
        "predicted_accuracy": theory.predicted_accuracy(is_train, E) if is_finite else None,
    }
