"""Cells of Omnigrok: perceptrons in stacks; data of another size are another stack."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backend.experiments.cells import Bench, CellResult, curve, n_looks, number, reached
from backend.experiments.kind import Checked
from backend.experiments.omnigrok.spec import mnist_digest, places, setting_of
from compute.ensembles.trainer import Threshold, TrainConfig, Trainer, TrainResult, log_spaced_steps
from compute.grokking.omnigrok import MEASURES, PerceptronNetworks
from compute.grokking.omnigrok_setting import n_test, shape_of
from compute.grokking.supervised import Supervised, digits, mnist, teacher_student

LOOKS = 120
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Of the activations of a stack: what is larger is trained in parts.
MAX_NUMBERS = 2**30


def compute(asked: Checked, cells: Sequence[int], bench: Bench) -> list[CellResult]:
    """Train some cells, stack by stack; each stack is committed when it is done."""
    whole = places(asked)
    shape = shape_of(asked["data"], asked["hidden"])
    for size, parts in stacks(asked, cells).items():
        data = _data(asked, size, bench)
        for part in parts:
            settings = [setting_of(asked, whole[cell]) for cell in part]
            networks = PerceptronNetworks(
                shape, settings, [data], bench.device, DTYPES[asked["dtype"]]
            )
            record = bench.train(Trainer(networks, networks.optimizer(), train_config(asked)), part)
            bench.commit([_result(asked, record, cell, row) for row, cell in enumerate(part)])
    return []


def stacks(asked: Checked, cells: Sequence[int]) -> dict[int, list[list[int]]]:
    """Return cells that train together, by the size of their data; not too many for memory."""
    whole, found = places(asked), dict[int, list[list[int]]]()
    widths = sum(shape_of(asked["data"], asked["hidden"]).widths)
    for cell in cells:
        size = whole[cell]["n_train"]
        parts = found.setdefault(size, [[]])
        rows = size + n_test(asked["data"], size)
        if (len(parts[-1]) + 1) * rows * widths > MAX_NUMBERS and parts[-1]:
            parts.append([])
        parts[-1].append(cell)
    return found


def _data(asked: Checked, size: int, bench: Bench) -> Supervised:
    seed = asked["data_seed"]
    if asked["data"] == "digits":
        return digits(size, seed)
    if asked["data"] == "teacher_student":
        return teacher_student(size, seed)
    folder = bench.imports / asked["mnist"]["file"]
    try:
        if mnist_digest(folder) != asked["mnist"]["sha256"]:
            raise ValueError(f"mnist {asked['mnist']['file']} has changed since it was asked for")
        return mnist(folder, size)
    except OSError as error:
        raise ValueError(f"mnist {asked['mnist']['file']} cannot be read: {error}") from error


def train_config(asked: Checked) -> TrainConfig:
    """Return how the cells are trained and looked at."""
    steps = asked["steps"]
    return TrainConfig(
        steps,
        {
            "train": Threshold("train_accuracy", asked["train_threshold"]),
            "test": Threshold("test_accuracy", asked["test_threshold"]),
        },
        MEASURES,
        log_spaced_steps(steps, LOOKS),
        eval_every=asked["look_every"],
        stop_thresholds=("train", "test") if asked["stop_early"] else (),
        stop_delay=steps // 20,
    )


def _result(asked: Checked, record: TrainResult, cell: int, row: int) -> CellResult:
    steps, log = asked["steps"], log_spaced_steps(asked["steps"], LOOKS)
    stopped = int(record.stop_steps[row])
    looks = n_looks(log, stopped)
    seen = {name: values[row, :looks] for name, values in record.curves.items()}
    test_step = reached(record.threshold_steps["test"][row], steps)
    summary: dict[str, Any] = {
        "train_step": reached(record.threshold_steps["train"][row], steps),
        "test_step": test_step,
        **{f"final_{name}": number(values[-1]) for name, values in seen.items()},
        **_best(seen),
        "initial_norm": number(seen["norm"][0]),
        "test_norm": None
        if test_step is None
        else number(np.interp(test_step, log[:looks], seen["norm"])),
        "stopped": stopped,
    }
    arrays = {name: curve(values, looks) for name, values in seen.items()}
    return CellResult(cell, summary, {"step": log[:looks].astype(np.int32), **arrays})


def _best(seen: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """Return the lowest losses and highest accuracies of a curve."""
    found: dict[str, float | None] = {}
    for name in MEASURES[:4]:
        values = seen[name][np.isfinite(seen[name])]
        best = values.min if name.endswith("loss") else values.max
        found[f"best_{name}"] = number(best()) if len(values) else None
    return found
