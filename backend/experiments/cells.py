"""What the functions that compute cells share: their context, their results and summaries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.read.values import finite_or_none
from compute.ensembles.trainer import Trainer, TrainResult


@dataclass(frozen=True)
class CellResult:
    """The result of one cell.

    Attributes:
        cell: number of the cell, from 0.
        summary: summary numbers as JSON; null where undefined.
        arrays: arrays by name; float16, float32 or integers.
    """

    cell: int
    summary: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class TrainFunction(Protocol):
    """Runs the training of one stack of networks to its end."""

    def __call__(self, training: Trainer, part: Sequence[int] | None = None) -> TrainResult:
        """Return the record of the training; `part`: cells of the stack, None: all of the call."""


def _ignore(share: float) -> None:
    del share


@dataclass(frozen=True)
class CellContext:
    """The environment in which cells are computed.

    Attributes:
        device: "cpu" or "cuda".
        imports: folder of the files that parameters name.
        train: runs a training to its end, resumes it from a saved state and saves it.
        commit: stores finished cells before the next ones start.
        report: takes the finished share, 0 to 1, of work that trains nothing; raises to cancel.
    """

    device: str
    imports: Path
    train: TrainFunction
    commit: Callable[[Sequence[CellResult]], None]
    report: Callable[[float], None] = _ignore


def step_or_none(step: int, steps: int) -> int | None:
    """Return the step at which a threshold was reached; None for the last step, i.e. never."""
    return int(step) if step < steps - 1 else None


def stored_curve(values: NDArray[Any], n_evals: int) -> NDArray[np.float32]:
    """Return the first values of a curve as float32, NaN where the network diverged."""
    with np.errstate(over="ignore"):
        curve: NDArray[np.float32] = values[:n_evals].astype(np.float32)
    curve[~np.isfinite(curve)] = np.nan
    return curve


def final_values(curves: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the last value of every curve as summary numbers; other arrays are left out."""
    return {
        f"final_{name}": finite_or_none(values[-1])
        for name, values in curves.items()
        if values.ndim == 1
    }


def count_evals(eval_steps: NDArray[np.int64], stopped: int) -> int:
    """Return the number of evaluations of a network that stopped before step `stopped`."""
    return int(np.searchsorted(eval_steps, stopped))
