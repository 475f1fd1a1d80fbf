"""Cells of modular addition: a transformer trained, then measured with its own frequencies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.cells import Bench, CellResult, curve, number, reached
from backend.experiments.kind import Checked
from backend.experiments.modular_addition.spec import (
    LOOK_EVERY,
    n_parameters,
    settings_of,
    shape_of,
)
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
# Kept of a stack in training: two gigabytes.
MAX_NUMBERS = 5e8
LOG_LOOKS = 34
EVEN_LOOKS = 26
# What is large and drawn, no more: float16 holds it to a thousandth.
HALVES = ("neuron_maps", "logit_energy", "circle", "principal")


def train_config(steps: int) -> TrainConfig:
    """Return how cells are trained: looked at evenly over the logarithm, and evenly besides.

    What generalises does so late, where a logarithm has few looks.
    """
    even = np.linspace(0, steps - 1, EVEN_LOOKS).round().astype(np.int64)
    log = np.union1d(log_spaced_steps(steps, LOG_LOOKS), even)
    return TrainConfig(
        steps,
        THRESHOLDS,
        (*MEASURES, PARAMETERS),
        log,
        eval_every=LOOK_EVERY,
        warmup=WARMUP_STEPS,
    )


def compute(asked: Checked, cells: Sequence[int], bench: Bench) -> list[CellResult]:
    """Train some cells, as many in a stack as memory has room for at every look."""
    shape, settings, how = shape_of(asked), settings_of(asked), train_config(asked["steps"])
    room = max(1, int(MAX_NUMBERS // (n_parameters(asked) * len(how.eval_steps))))
    for first in range(0, len(cells), room):
        part = cells[first : first + room]
        chosen = [settings[cell] for cell in part]
        networks = ModularAdditionNetworks(shape, chosen, bench.device)
        record = bench.train(Trainer(networks, networks.optimizer(), how), part)
        bench.commit(
            [_result(shape, chosen[row], how, record, cell, row) for row, cell in enumerate(part)]
        )
    return []


def _result(
    shape: Architecture,
    setting: Setting,
    how: TrainConfig,
    record: TrainResult,
    cell: int,
    row: int,
) -> CellResult:
    looks = len(how.eval_steps)
    found = {name: reached(steps[row], how.steps) for name, steps in record.threshold_steps.items()}
    curves = {name: curve(record.curves[name][row], looks) for name in MEASURES}
    train = pair_order(shape.p, setting.split_seed)[: n_train(shape.p, setting.train_fraction)]
    parameters = record.curves[PARAMETERS][row]
    if not np.isfinite(parameters).all():
        return CellResult(
            cell,
            {**_steps(found), **_ends(curves), "diverged": True, "n_train": len(train)},
            {"step": how.eval_steps.astype(np.int32), **curves},
        )
    chosen = snapshot_indices(how.eval_steps, found["train"], found["test"])
    clock, measured = clock_history(shape, parameters, train, chosen)
    shown = {name: _kept(name, values) for name, values in measured.items()}
    whole = {**curves, **shown}
    summary = {
        **_steps(found),
        **_ends(whole),
        "diverged": False,
        "n_train": len(train),
        **_clock(clock, measured),
        **_progress(how.eval_steps, whole, found["half"]),
    }
    return CellResult(
        cell,
        summary,
        {
            "step": how.eval_steps.astype(np.int32),
            **whole,
            "moment": chosen.astype(np.int32),
            "neuron_frequency": clock.neurons.frequency.astype(np.int16),
            "neuron_share": clock.neurons.share.astype(np.float32),
        },
    )


def _kept(name: str, values: NDArray[np.float64]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        kept: NDArray[Any] = values.astype(np.float16 if name in HALVES else np.float32)
    kept[~np.isfinite(kept)] = np.nan
    return kept


def _steps(found: dict[str, int | None]) -> dict[str, Any]:
    return {f"{name}_step": step for name, step in found.items()}


def _ends(curves: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        f"final_{name}": number(values[-1]) for name, values in curves.items() if values.ndim == 1
    }


def _clock(clock: Clock, measured: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Return key frequencies with what each holds, and what is drawn."""
    neurons = clock.neurons
    energy, waves = measured["embedding_spectrum"][-1], measured["logit_spectrum"][-1]
    return {
        "key_frequencies": list(clock.key),
        "key_neurons": [int((neurons.frequency == k).sum()) for k in clock.key],
        "key_energy": [number(energy[k - 1]) for k in clock.key],
        "key_explained": [number(waves[k - 1]) for k in clock.key],
        "start_key_share": number(measured["key_share"][0]),
        "single_frequency_neurons": number((neurons.share > 0.85).mean()),
        "planes": list(clock.planes),
        "drawn_neurons": list(clock.drawn),
    }


def _progress(
    log: NDArray[np.int64], curves: dict[str, NDArray[Any]], half: int | None
) -> dict[str, Any]:
    """Return the phases, and how far excluded loss and weights moved."""
    excluded, squares = curves["excluded_loss"], curves["squared_weights"]
    phases = clock_phases(log, excluded, curves["test_loss"])
    until = int(np.searchsorted(log, half, "right")) if half is not None else len(log)
    lowest = float(excluded[:until].min())
    return {
        "memorised_step": phases.memorised,
        "formed_step": phases.formed,
        "cleaned_step": phases.cleaned,
        "lowest_excluded_loss": number(lowest),
        "half_excluded_loss": number(excluded[until - 1]) if half is not None else None,
        "highest_squared_weights": number(squares.max()),
    }
