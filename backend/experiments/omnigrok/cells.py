"""Computes the cells of Omnigrok: perceptrons in stacks, one stack for each data size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backend.experiments.cells import (
    CellContext,
    CellResult,
    count_evals,
    final_values,
    step_or_none,
    stored_curve,
)
from backend.experiments.omnigrok.spec import CompleteOmnigrokParameters, mnist_digest
from backend.read.values import finite_or_none
from compute.ensembles.trainer import Threshold, TrainConfig, Trainer, TrainResult, log_spaced_steps
from compute.grokking.omnigrok import MEASURES, PerceptronNetworks
from compute.grokking.omnigrok_setting import n_test
from compute.grokking.supervised import Supervised, digits, mnist, teacher_student

N_LOG_EVALS = 120
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Larger stacks, by their number of activations, are trained in parts.
MAX_ACTIVATIONS = 2**30


def compute_cells(
    params: CompleteOmnigrokParameters, cells: Sequence[int], context: CellContext
) -> list[CellResult]:
    """Train some cells; each stack is committed when it is finished."""
    places = params.places()
    for n_train, stacks in split_into_stacks(params, cells).items():
        data = _load_data(params, n_train, context)
        for stack in stacks:
            settings = [params.setting(places[cell]) for cell in stack]
            networks = PerceptronNetworks(
                params.shape(), settings, [data], context.device, DTYPES[params.dtype]
            )
            training = Trainer(networks, networks.optimizer(), train_config(params))
            result = context.train(training, stack)
            context.commit(
                [_result(params.steps, result, cell, row) for row, cell in enumerate(stack)]
            )
    return []


def split_into_stacks(
    params: CompleteOmnigrokParameters, cells: Sequence[int]
) -> dict[int, list[list[int]]]:
    """Return the cells of each stack, by the size of their data; a stack fits in memory."""
    places = params.places()
    width = sum(params.shape().widths)
    stacks_by_size: dict[int, list[list[int]]] = {}
    for cell in cells:
        n_train = places[cell]["n_train"]
        stacks = stacks_by_size.setdefault(n_train, [[]])
        activations = (len(stacks[-1]) + 1) * (n_train + n_test(params.data, n_train)) * width
        if stacks[-1] and activations > MAX_ACTIVATIONS:
            stacks.append([])
        stacks[-1].append(cell)
    return stacks_by_size


def _load_data(
    params: CompleteOmnigrokParameters, n_train: int, context: CellContext
) -> Supervised:
    if params.mnist is None:
        load = digits if params.data == "digits" else teacher_student
        return load(n_train, params.data_seed)
    name = params.mnist.file
    try:
        if mnist_digest(context.imports / name) != params.mnist.sha256:
            raise ValueError(f"mnist {name} has changed since the request")
        return mnist(context.imports / name, n_train)
    except OSError as error:
        raise ValueError(f"mnist {name} cannot be read: {error}") from error


def train_config(params: CompleteOmnigrokParameters) -> TrainConfig:
    """Return how the cells are trained and evaluated."""
    return TrainConfig(
        params.steps,
        {
            "train": Threshold("train_accuracy", params.train_threshold),
            "test": Threshold("test_accuracy", params.test_threshold),
        },
        MEASURES,
        log_spaced_steps(params.steps, N_LOG_EVALS),
        eval_every=params.eval_every,
        stop_thresholds=("train", "test") if params.stop_early else (),
        stop_delay=params.steps // 20,
    )


def _result(steps: int, result: TrainResult, cell: int, row: int) -> CellResult:
    eval_steps = log_spaced_steps(steps, N_LOG_EVALS)
    stopped = int(result.stop_steps[row])
    n_evals = count_evals(eval_steps, stopped)
    eval_steps = eval_steps[:n_evals]
    curves = {name: values[row, :n_evals] for name, values in result.curves.items()}
    test_step = step_or_none(result.threshold_steps["test"][row], steps)
    norm = curves["norm"]
    summary: dict[str, Any] = {
        "train_step": step_or_none(result.threshold_steps["train"][row], steps),
        "test_step": test_step,
        **final_values(curves),
        **_best_values(curves),
        "initial_norm": finite_or_none(norm[0]),
        "test_norm": None
        if test_step is None
        else finite_or_none(np.interp(test_step, eval_steps, norm)),
        "stopped": stopped,
    }
    arrays = {name: stored_curve(values, n_evals) for name, values in curves.items()}
    return CellResult(cell, summary, {"step": eval_steps.astype(np.int32), **arrays})


def _best_values(curves: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """Return the lowest losses and the highest accuracies."""
    best: dict[str, float | None] = {}
    for name in MEASURES[:4]:
        values = curves[name][np.isfinite(curves[name])]
        extreme = values.min if name.endswith("loss") else values.max
        best[f"best_{name}"] = finite_or_none(extreme()) if len(values) else None
    return best
