"""Cells of phase diagrams: toy networks in a stack, and what effective theory says of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import Bench, CellResult, curve, n_looks, number, reached
from backend.experiments.grokking.spec import grid_of, problem_of
from backend.experiments.kind import Checked
from compute.ensembles.trainer import Trainer, TrainResult
from compute.grokking import parallelograms as theory
from compute.grokking.addition import AdditionNetworks
from compute.grokking.phase_diagram import train_config
from compute.grokking.problems import Problem, Setting, n_train, split_of


def compute(asked: Checked, cells: Sequence[int], bench: Bench) -> list[CellResult]:
    """Train some cells of a grid in one stack."""
    problem, settings = problem_of(asked), grid_of(asked).settings()
    chosen = [settings[cell] for cell in cells]
    networks = AdditionNetworks(problem, chosen, bench.device)
    how = train_config(asked["steps"], stop_early=asked["stop_early"])
    record = bench.train(Trainer(networks, networks.optimizer(), how))
    return [
        _result(problem, chosen[row], how.eval_steps, record, cell, row)
        for row, cell in enumerate(cells)
    ]


def _result(
    problem: Problem,
    setting: Setting,
    log: NDArray[Any],
    record: TrainResult,
    cell: int,
    row: int,
) -> CellResult:
    stopped = int(record.stop_steps[row])
    looks = n_looks(log, stopped)
    arrays: dict[str, Any] = {
        name: curve(values[row], looks) for name, values in record.curves.items()
    }
    steps = int(log[-1]) + 1  # the last step is always looked at
    summary: dict[str, Any] = {
        **{
            f"{name}_step": reached(found[row], steps)
            for name, found in record.threshold_steps.items()
        },
        **{
            f"final_{name}": number(values[-1])
            for name, values in arrays.items()
            if values.ndim == 1
        },
        "stopped": stopped,
        **_theory(problem, setting, arrays["representation"][-1]),
    }
    return CellResult(cell, summary, {"step": log[:looks].astype(np.int32), **arrays})


def _theory(problem: Problem, setting: Setting, E: NDArray[Any]) -> dict[str, Any]:
    """Return what effective theory says of a cell; it knows addition alone."""
    size = n_train(problem, setting)
    if problem.task != "addition":
        return {"n_train": size}
    is_train = np.zeros(len(problem.pairs()), bool)
    is_train[split_of(problem, setting.split_seed).order[:size]] = True
    rate = setting.lr_representation
    scale = theory.time_scale(problem.p, is_train, rate) if rate > 0 else None
    known = np.isfinite(E).all()
    return {
        "n_train": size,
        "nullity": theory.nullity(problem.p, is_train),
        "lambda3": scale.lambda3 if scale else None,
        "time_constant": scale.steps if scale else None,
        "ideal_accuracy": theory.ideal_accuracy(problem.p, is_train),
        "predicted_accuracy": theory.predicted_accuracy(is_train, E) if known else None,
    }
