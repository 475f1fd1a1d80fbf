"""Grids of toy networks: one cell per combination of two settings."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from compute.grokking.problems import Setting

Axis = Literal[
    "lr_representation",
    "lr_decoder",
    "wd_decoder",
    "wd_representation",
    "train_fraction",
    "init_scale",
    "dropout",
    "batch_size",
    "seed",
    "split_seed",
]
INTEGER_AXES = {"batch_size", "seed", "split_seed"}


@dataclass(frozen=True)
class Grid:
    """Cells over two axes, in row-major order: x changes fastest.

    Attributes:
        x: name and values of the horizontal axis.
        y: name and values of the vertical axis.
        base: setting of all cells, apart from the axes.
    """

    x: tuple[Axis, tuple[float, ...]]
    y: tuple[Axis, tuple[float, ...]]
    base: Setting = Setting()  # noqa: RUF009

    def __post_init__(self) -> None:
        """Raise ValueError for invalid axes."""
        if self.x[0] == self.y[0]:
            raise ValueError(f"both axes are {self.x[0]}; choose two different ones")
        for name, values in (self.x, self.y):
            if name in INTEGER_AXES and any(value != round(value) for value in values):
                raise ValueError(f"{name} has values {values}, want integers")
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"values of {name} must be ascending and not empty")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.y[1]), len(self.x[1])

    def settings(self) -> list[Setting]:
        """Return the setting of every cell.

        Raises:
            ValueError: a value is out of range.
        """
        return [
            replace(self.base, **{self.x[0]: _value(self.x[0], x), self.y[0]: _value(self.y[0], y)})
            for y in self.y[1]
            for x in self.x[1]
        ]


def _value(axis: str, value: float) -> Any:
    return round(value) if axis in INTEGER_AXES else float(value)


def log_axis(low: float, high: float, count: int) -> tuple[float, ...]:
    """Return `count` log-spaced values from 10^low to 10^high."""
    spaced: Float[np.ndarray, " values"] = 10 ** np.linspace(low, high, count)
    return tuple(spaced.tolist())
