"""What computes the cells of an experiment, and what it gives back."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.experiments.kind import Checked
from compute.ensembles.trainer import Trainer, TrainResult


@dataclass(frozen=True)
class CellResult:
    """What one cell showed.

    Attributes:
        cell: its number, from 0.
        summary: numbers that sum it up, as JSON; null where there is none.
        arrays: by name; float32 or integers.
    """

    cell: int
    summary: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class Train(Protocol):
    """How a training is run to its end."""

    def __call__(self, training: Trainer, part: Sequence[int] | None = None) -> TrainResult:
        """Return what it showed.

        Args:
            training: of one stack.
            part: the cells in it, where they are not all that were asked for.
        """


def _unheard(share: float) -> None:
    del share


@dataclass(frozen=True)
class Bench:
    """Where a group of cells is computed.

    Attributes:
        device: "cpu" or "cuda".
        imports: folder that parameters name files below.
        train: runs a training to its end, from where it was cut off, and watches it.
        commit: stores cells that are finished before others are begun.
        check: told how far it is, 0 to 1, where nothing is trained; raises once it need not go on.
    """

    device: str
    imports: Path
    train: Train
    commit: Callable[[Sequence[CellResult]], None]
    check: Callable[[float], None] = _unheard


Computing = Callable[[Checked, Sequence[int], Bench], list[CellResult]]
"""(parameters, cells, bench) -> what those cells showed that it has not committed itself; raises
ValueError for what cannot be."""


def number(value: float) -> float | None:
    """Return a number as JSON holds it: None where a network has diverged."""
    return float(value) if math.isfinite(value) else None


def reached(step: int, steps: int) -> int | None:
    """Return the step at which a threshold was reached, None for the last: it never was."""
    return int(step) if step < steps - 1 else None


def curve(values: NDArray[Any], looks: int) -> NDArray[np.float32]:
    """Return a curve up to the look at which its network left, as it is stored.

    What has diverged is NaN, so that it is drawn as a gap.
    """
    with np.errstate(over="ignore"):
        kept: NDArray[np.float32] = values[:looks].astype(np.float32)
    kept[~np.isfinite(kept)] = np.nan
    return kept


def n_looks(log: NDArray[np.int64], stopped: int) -> int:
    """Return how many looks a network had that left before step `stopped`."""
    return int(np.searchsorted(log, stopped))
