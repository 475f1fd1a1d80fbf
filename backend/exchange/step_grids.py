"""Read grids of steps: when each cell of a phase diagram reached its train and test accuracy."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from compute.grokking.phases import PhaseLabels, phase_labels

MAX_BYTES = 10_000_000
_BETWEEN = re.compile(r"[,;\s]+")


@dataclass(frozen=True)
class StepGrids:
    """Steps to the train and test accuracy, shape (rows, columns), and the resulting phases."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    budget: int
    gap: int
    labels: PhaseLabels


def _row(file: Path, line: int, text: str) -> list[int]:
    steps = []
    for place, word in enumerate(filter(None, _BETWEEN.split(text)), 1):
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not (value >= 0 and value.is_integer()):
            raise InvalidInputError(
                f"{file}, line {line}, column {place}: {word[:40]!r} is not a step",
                "Give integers >= 0, separated by commas or spaces",
            )
        steps.append(int(value))
    return steps


def read_steps(file: Path) -> NDArray[np.int64]:
    """Return a grid of steps: numbers separated by commas or spaces, one row per line; # comments.

    Raises:
        InvalidInputError: the file is missing, too large or not a grid; the error names the line.
    """
    if not file.is_file():
        raise InvalidInputError(f"{file} does not exist", "Give the file with the steps")
    if file.stat().st_size > MAX_BYTES:
        raise InvalidInputError(
            f"{file} has {file.stat().st_size:,} bytes", f"A grid has at most {MAX_BYTES:,} bytes"
        )
    rows: list[list[int]] = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{file} is not text (byte {error.start})", "Give a CSV or space-separated text file"
        ) from error
    for number, text in enumerate(lines, 1):
        row = _row(file, number, text.partition("#")[0].strip())
        if row and rows and len(row) != len(rows[0]):
            raise InvalidInputError(
                f"{file}, line {number}: {len(row)} numbers, the first row has {len(rows[0])}",
                "Give rows of equal length",
            )
        if row:
            rows.append(row)
    if not rows:
        raise InvalidInputError(f"{file} has no numbers", "Give one line of steps per row")
    return np.array(rows, np.int64)


def read_step_grids(train: Path, test: Path, budget: int, gap: int) -> StepGrids:
    """Return two grids of steps and the phases of their cells.

    Args:
        train: file of steps to the train accuracy; budget - 1 means never.
        test: the same for the test accuracy.
        budget: number of steps that every cell was trained.
        gap: minimum delay between train and test accuracy to count as grokking, in steps.

    Raises:
        InvalidInputError: a file is not a grid, the shapes differ, or a step exceeds the budget.
    """
    grids = [read_steps(file) for file in (train, test)]
    if grids[0].shape != grids[1].shape:
        raise InvalidInputError(
            f"{train} has {grids[0].shape[0]} x {grids[0].shape[1]} cells, {test} "
            f"{grids[1].shape[0]} x {grids[1].shape[1]}",
            "Give two grids of equal shape",
        )
    for file, grid in zip((train, test), grids, strict=True):
        if grid.max() > budget:
            row, column = np.unravel_index(int(grid.argmax()), grid.shape)
            raise InvalidInputError(
                f"{file}, row {row + 1}, column {column + 1}: step {grid.max()} exceeds "
                f"the budget of {budget}",
                "Give the --budget that the cells were trained with",
                "budget",
            )
    try:
        labels = phase_labels(grids[0], grids[1], budget, gap)
    except ValueError as error:
        raise InvalidInputError(str(error), "Correct --budget and --gap") from error
    return StepGrids(grids[0], grids[1], budget, gap, labels)
