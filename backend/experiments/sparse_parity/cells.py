"""Cells of sparse parity: networks of one width and alpha in a stack, and what each learned when.

Convergence is read off the losses as they are stored, so that whoever reads them finds the same.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import Bench, CellResult, curve, n_looks, number
from backend.experiments.kind import Checked
from backend.experiments.sparse_parity.spec import places, problem_of, setting_of
from compute.ensembles.early_stopping import EarlyStopping
from compute.ensembles.trainer import TrainConfig, Trainer, TrainResult, log_spaced_steps
from compute.parity_problem import CONVERGED_BITS, Problem, convergence, convergence_steps
from compute.sparse_parity import MEASURES, ParityNetworks

LOOKS = 80
STACK_BYTES = {"cpu": 2e9, "cuda": 2e10}
FLOAT16_MAX = 60_000.0


def compute(asked: Checked, cells: Sequence[int], bench: Bench) -> list[CellResult]:
    """Train some cells, stack by stack; each stack is committed when it is done."""
    whole = places(asked)
    for part in stacks(asked, cells, bench.device):
        chosen = [whole[cell] for cell in part]
        problem = problem_of(asked, chosen[0]["alpha"])
        settings = [setting_of(asked, place) for place in chosen]
        networks = ParityNetworks(
            problem, chosen[0]["width"], settings, asked["test_points"], bench.device
        )
        is_fixed = chosen[0]["samples"] > 0
        how = train_config(asked, is_fixed=is_fixed)
        record = bench.train(Trainer(networks, networks.optimizer(), how), part)
        bench.commit(
            [_result(problem, how.eval_steps, record, cell, row) for row, cell in enumerate(part)]
        )
    return []


def train_config(asked: Checked, *, is_fixed: bool) -> TrainConfig:
    """Return how cells are trained; only on fixed samples does a rising loss end it."""
    early_stopping = None
    if is_fixed and asked["patience"]:
        early_stopping = EarlyStopping(
            "loss", asked["patience"], asked["patience_after"], asked["patience_every"]
        )
    steps = asked["steps"]
    log = log_spaced_steps(steps, LOOKS)
    return TrainConfig(steps, {}, MEASURES, log, early_stopping=early_stopping)


def stacks(asked: Checked, cells: Sequence[int], device: str) -> list[list[int]]:
    """Return cells that train together: of one alpha and width, fresh data or not, and not too
    many for memory."""
    whole = places(asked)

    def alike(cell: int) -> tuple[Any, ...]:
        place = whole[cell]
        return place["alpha"], place["width"], place["samples"] > 0

    found = []
    for _, group in groupby(sorted(cells, key=lambda cell: (alike(cell), cell)), alike):
        part: list[int] = []
        room = STACK_BYTES[device]
        for cell in group:
            need = network_bytes(asked, whole[cell])
            if part and need > room:
                found.append(part)
                part, room = [], STACK_BYTES[device]
            part.append(cell)
            room -= need
        found.append(part)
    return found


def network_bytes(asked: Checked, place: Checked) -> float:
    """Return about what a network needs: its batch, its hidden layers, its sample."""
    inputs = asked["tasks"] + asked["bits"]
    batch = asked["batch_size"] * (inputs + 2 * place["width"])
    tests = asked["tasks"] * asked["test_points"] * place["width"]
    sample = place["samples"] * (asked["bits"] + 24)
    return float(4 * (batch + tests) + sample)


def _result(
    problem: Problem, log: NDArray[np.int64], record: TrainResult, cell: int, row: int
) -> CellResult:
    stopped = int(record.stop_steps[row])
    looks = n_looks(log, stopped)
    arrays = {name: curve(values[row], looks) for name, values in record.curves.items()}
    task_loss = np.minimum(arrays["task_loss"], FLOAT16_MAX).astype(np.float16)
    steps = log[:looks]
    when = convergence_steps(task_loss, steps)
    law = convergence(problem.frequencies(), when)
    # A network that has diverged from the start has no least loss.
    loss = np.where(np.isnan(arrays["loss"]), np.inf, arrays["loss"])
    least = int(loss.argmin())
    learned = (task_loss < CONVERGED_BITS).sum(axis=1)
    summary: dict[str, Any] = {
        "converged": law.converged,
        "slope": law.slope,
        "rank_correlation": None if law.rank_correlation is None else number(law.rank_correlation),
        "final_loss": number(arrays["loss"][-1]),
        "final_train_loss": number(arrays["train_loss"][-1]),
        "learned_at_end": int(learned[-1]),
        "minimum_loss": number(loss[least]),
        "minimum_step": int(steps[least]),
        "learned_at_minimum": int(learned[least]),
        "stopped": stopped,
        "convergence_steps": [int(step) if step >= 0 else None for step in when],
    }
    kept: dict[str, NDArray[Any]] = {**arrays, "task_loss": task_loss}
    return CellResult(cell, summary, {"step": steps.astype(np.int32), **kept})
