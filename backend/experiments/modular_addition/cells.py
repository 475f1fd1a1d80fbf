"""Computes the cells of modular addition: trains transformers, then measures their circuits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import (
    CellContext,
    CellResult,
    final_values,
    step_or_none,
    stored_curve,
)
from backend.experiments.modular_addition.spec import EVAL_EVERY, ModularAdditionParameters
from backend.read.values import finite_or_none
from compute.ensembles.trainer import Threshold, TrainConfig, Trainer, TrainResult, log_spaced_steps
from compute.grokking.clock import Clock, clock_history, snapshot_indices
from compute.grokking.fourier import clock_phases
from compute.grokking.modular_addition import MEASURES, WARMUP_STEPS, ModularAdditionNetworks
from compute.grokking.modular_setting import Architecture, Setting, n_train, pair_order

THRESHOLDS = {
    "train": Threshold("train_accuracy", 0.99),
    "half": Threshold("test_accuracy", 0.5),
    "test": Threshold("test_accuracy", 0.9),
}
PARAMETERS = "parameters"
# Limits the parameters that are held of a stack in training to two gigabytes.
MAX_STACK_NUMBERS = 5e8
N_LOG_EVALS = 34
N_EVEN_EVALS = 26
# Large arrays that are only drawn: float16 has a relative error of a thousandth.
FLOAT16_ARRAYS = ("neuron_maps", "logit_energy", "circle", "principal")
SINGLE_FREQUENCY_SHARE = 0.85


def train_config(steps: int) -> TrainConfig:
    """Return how cells are trained: evaluated at logarithmic and at even steps.

    Networks generalise late, where logarithmic steps are sparse.
    """
    even = np.linspace(0, steps - 1, N_EVEN_EVALS).round().astype(np.int64)
    return TrainConfig(
        steps,
        THRESHOLDS,
        (*MEASURES, PARAMETERS),
        np.union1d(log_spaced_steps(steps, N_LOG_EVALS), even),
        eval_every=EVAL_EVERY,
        warmup=WARMUP_STEPS,
    )


def compute_cells(
    params: ModularAdditionParameters, cells: Sequence[int], context: CellContext
) -> list[CellResult]:
    """Train some cells, as many in a stack as fit in memory at every evaluation."""
    shape, all_settings, config = params.shape(), params.settings(), train_config(params.steps)
    stack_size = max(1, int(MAX_STACK_NUMBERS // (params.n_weights() * len(config.eval_steps))))
    for first in range(0, len(cells), stack_size):
        stack = cells[first : first + stack_size]
        settings = [all_settings[cell] for cell in stack]
        networks = ModularAdditionNetworks(shape, settings, context.device)
        result = context.train(Trainer(networks, networks.optimizer(), config), stack)
        context.commit(
            [
                _result(shape, settings[row], config, result, cell, row)
                for row, cell in enumerate(stack)
            ]
        )
    return []


def _result(
    shape: Architecture,
    setting: Setting,
    config: TrainConfig,
    result: TrainResult,
    cell: int,
    row: int,
) -> CellResult:
    eval_steps = config.eval_steps
    reached = {
        name: step_or_none(steps[row], config.steps)
        for name, steps in result.threshold_steps.items()
    }
    curves = {name: stored_curve(result.curves[name][row], len(eval_steps)) for name in MEASURES}
    pairs = pair_order(shape.p, setting.split_seed)[: n_train(shape.p, setting.train_fraction)]
    parameters = result.curves[PARAMETERS][row]
    diverged = not np.isfinite(parameters).all()
    arrays = {"step": eval_steps.astype(np.int32), **curves}
    summary: dict[str, Any] = {f"{name}_step": step for name, step in reached.items()}
    if diverged:
        summary |= {**final_values(curves), "diverged": True, "n_train": len(pairs)}
        return CellResult(cell, summary, arrays)
    map_evals = snapshot_indices(eval_steps, reached["train"], reached["test"])
    clock, measures = clock_history(shape, parameters, pairs, map_evals)
    curves |= {name: _stored_array(name, values) for name, values in measures.items()}
    summary |= {
        **final_values(curves),
        "diverged": False,
        "n_train": len(pairs),
        **_clock_summary(clock, measures),
        **_progress_summary(eval_steps, curves, reached["half"]),
    }
    arrays |= {
        **curves,
        "moment": map_evals.astype(np.int32),
        "neuron_frequency": clock.neurons.frequency.astype(np.int16),
        "neuron_share": clock.neurons.share.astype(np.float32),
    }
    return CellResult(cell, summary, arrays)


def _stored_array(name: str, values: NDArray[np.float64]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        array: NDArray[Any] = values.astype(np.float16 if name in FLOAT16_ARRAYS else np.float32)
    array[~np.isfinite(array)] = np.nan
    return array


def _clock_summary(clock: Clock, measures: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Return the key frequencies with their shares, and the planes and neurons that are drawn."""
    neurons = clock.neurons
    energy, explained = measures["embedding_spectrum"][-1], measures["logit_spectrum"][-1]
    return {
        "key_frequencies": list(clock.key),
        "key_neurons": [int((neurons.frequency == k).sum()) for k in clock.key],
        "key_energy": [finite_or_none(energy[k - 1]) for k in clock.key],
        "key_explained": [finite_or_none(explained[k - 1]) for k in clock.key],
        "start_key_share": finite_or_none(measures["key_share"][0]),
        "single_frequency_neurons": finite_or_none((neurons.share > SINGLE_FREQUENCY_SHARE).mean()),
        "planes": list(clock.planes),
        "drawn_neurons": list(clock.top_neurons),
    }


def _progress_summary(
    eval_steps: NDArray[np.int64], curves: dict[str, NDArray[Any]], half_step: int | None
) -> dict[str, Any]:
    """Return the ends of the phases, and the extremes of excluded loss and squared weights."""
    excluded, squared_weights = curves["excluded_loss"], curves["squared_weights"]
    phases = clock_phases(eval_steps, excluded, curves["test_loss"])
    n_before_half = len(eval_steps)
    if half_step is not None:
        n_before_half = int(np.searchsorted(eval_steps, half_step, "right"))
    return {
        "memorised_step": phases.memorised,
        "formed_step": phases.formed,
        "cleaned_step": phases.cleaned,
        "lowest_excluded_loss": finite_or_none(float(excluded[:n_before_half].min())),
        "half_excluded_loss": (
            finite_or_none(excluded[n_before_half - 1]) if half_step is not None else None
        ),
        "highest_squared_weights": finite_or_none(squared_weights.max()),
    }
