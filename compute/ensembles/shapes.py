"""Shapes of perceptrons."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Activation = Literal["tanh", "relu"]
ACTIVATIONS: tuple[Activation, ...] = ("tanh", "relu")


@dataclass(frozen=True)
class Shape:
    """Widths of all layers from input to output, and what follows every layer but the last."""

    widths: tuple[int, ...]
    activation: Activation

    def flop_per_row(self) -> int:
        """Return floating-point operations of products forward and backward for one input row.

        Two a multiply-add; the gradient of the input is counted as well.
        """
        return 3 * sum(2 * a * b for a, b in pairwise(self.widths))
