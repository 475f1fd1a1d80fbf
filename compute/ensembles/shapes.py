"""Shapes of multilayer perceptrons."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Activation = Literal["tanh", "relu"]


@dataclass(frozen=True)
class Shape:
    """Widths of all layers from input to output, and the activation of the hidden layers."""

    widths: tuple[int, ...]
    activation: Activation

    def flop_per_row(self) -> int:
        """Return the FLOPs of the matrix products, forward and backward, for one input row.

        A multiply-add is two; the gradient of the input is included.
        """
        return 3 * sum(2 * a * b for a, b in pairwise(self.widths))
