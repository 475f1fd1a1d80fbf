"""Computes the cells of sparse parity: networks of one width and alpha in a stack.

Convergence is computed from the losses as they are stored, so that readers can reproduce it.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import CellContext, CellResult, count_evals, stored_curve
from backend.experiments.kind import Place
from backend.experiments.sparse_parity.spec import SparseParityParameters
from backend.read.values import finite_or_none
from compute.ensembles.early_stopping import EarlyStopping
from compute.ensembles.trainer import TrainConfig, Trainer, TrainResult, log_spaced_steps
from compute.parity_problem import CONVERGED_BITS, Problem, convergence, convergence_steps
from compute.sparse_parity import MEASURES, ParityNetworks

N_LOG_EVALS = 80
STACK_BYTES = {"cpu": 2e9, "cuda": 2e10}
FLOAT16_MAX = 60_000.0


def compute_cells(
    params: SparseParityParameters, cells: Sequence[int], context: CellContext
) -> list[CellResult]:
    """Train some cells; each stack is committed when it is finished."""
    all_places = params.places()
    for stack in split_into_stacks(params, cells, context.device):
        places = [all_places[cell] for cell in stack]
        problem = params.problem(places[0]["alpha"])
        settings = [params.setting(place) for place in places]
        networks = ParityNetworks(
            problem, places[0]["width"], settings, params.test_points, context.device
        )
        config = train_config(params, is_fixed=places[0]["samples"] > 0)
        result = context.train(Trainer(networks, networks.optimizer(), config), stack)
        context.commit(
            [
                _result(problem, config.eval_steps, result, cell, row)
                for row, cell in enumerate(stack)
            ]
        )
    return []


def train_config(params: SparseParityParameters, *, is_fixed: bool) -> TrainConfig:
    """Return how cells are trained; only training on a fixed sample stops early."""
    early_stopping = None
    if is_fixed and params.patience:
        early_stopping = EarlyStopping(
            "loss", params.patience, params.patience_after, params.patience_every
        )
    eval_steps = log_spaced_steps(params.steps, N_LOG_EVALS)
    return TrainConfig(params.steps, {}, MEASURES, eval_steps, early_stopping=early_stopping)


def split_into_stacks(
    params: SparseParityParameters, cells: Sequence[int], device: str
) -> list[list[int]]:
    """Return the cells of each stack.

    Cells of a stack have one alpha and one width, all fresh data or none, and fit in memory.
    """
    places = params.places()

    def stack_key(cell: int) -> tuple[Any, ...]:
        place = places[cell]
        return place["alpha"], place["width"], place["samples"] > 0

    stacks = []
    for _, group in groupby(sorted(cells, key=lambda cell: (stack_key(cell), cell)), stack_key):
        stack: list[int] = []
        free_bytes = STACK_BYTES[device]
        for cell in group:
            n_bytes = network_bytes(params, places[cell])
            if stack and n_bytes > free_bytes:
                stacks.append(stack)
                stack, free_bytes = [], STACK_BYTES[device]
            stack.append(cell)
            free_bytes -= n_bytes
        stacks.append(stack)
    return stacks


def network_bytes(params: SparseParityParameters, place: Place) -> float:
    """Return the approximate memory of a network: its batch, hidden layers and sample."""
    n_inputs = params.tasks + params.bits
    batch = params.batch_size * (n_inputs + 2 * place["width"])
    tests = params.tasks * params.test_points * place["width"]
    sample = place["samples"] * (params.bits + 24)
    return float(4 * (batch + tests) + sample)


def _result(
    problem: Problem, eval_steps: NDArray[np.int64], result: TrainResult, cell: int, row: int
) -> CellResult:
    stopped = int(result.stop_steps[row])
    n_evals = count_evals(eval_steps, stopped)
    arrays: dict[str, NDArray[Any]] = {
        name: stored_curve(values[row], n_evals) for name, values in result.curves.items()
    }
    task_loss = np.minimum(arrays["task_loss"], FLOAT16_MAX).astype(np.float16)
    steps = eval_steps[:n_evals]
    task_steps = convergence_steps(task_loss, steps)
    law = convergence(problem.frequencies(), task_steps)
    # A network that diverged from the start has no minimum loss.
    loss = np.where(np.isnan(arrays["loss"]), np.inf, arrays["loss"])
    best = int(loss.argmin())
    n_learned = (task_loss < CONVERGED_BITS).sum(axis=1)
    summary: dict[str, Any] = {
        "converged": law.n_converged,
        "slope": law.slope,
        "rank_correlation": None
        if law.rank_correlation is None
        else finite_or_none(law.rank_correlation),
        "final_loss": finite_or_none(arrays["loss"][-1]),
        "final_train_loss": finite_or_none(arrays["train_loss"][-1]),
        "learned_at_end": int(n_learned[-1]),
        "minimum_loss": finite_or_none(loss[best]),
        "minimum_step": int(steps[best]),
        "learned_at_minimum": int(n_learned[best]),
        "stopped": stopped,
        "convergence_steps": [int(step) if step >= 0 else None for step in task_steps],
    }
    arrays["task_loss"] = task_loss
    return CellResult(cell, summary, {"step": steps.astype(np.int32), **arrays})
