"""AdamW for many networks at once, each with its own rates.

Source: arXiv:1711.05101, algorithm 2, in the form of `torch.optim.AdamW`: decay by lr x wd first,
then the step. A leaf is a stack of one tensor of every network, [networks, ...].

On a CPU one compiled pass reads and writes every number once: a stack's state is far larger than
its gradients' share of a cache, so that a dozen whole-array operations would cost as much as the
matrix products. Elsewhere, or without numba, the same in tensor operations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.jit import HAS_NUMBA, jit

CPU_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class Rates:
    """What one leaf of every network is trained with.

    Attributes:
        learning_rate: a step's.
        weight_decay: decoupled; multiplied by the learning rate.
    """

    learning_rate: Float[Tensor, " networks"]
    weight_decay: Float[Tensor, " networks"]

    @classmethod
    def of(
        cls,
        settings: Sequence[Any],
        learning_rate: str = "learning_rate",
        weight_decay: str = "weight_decay",
    ) -> "Rates":
        """Return the rates that settings have under two names."""
        columns = [
            torch.tensor([getattr(one, name) for one in settings], dtype=torch.float64)
            for name in (learning_rate, weight_decay)
        ]
        return cls(*columns)


@dataclass(frozen=True)
class Moments:
    """Constants of the running means (betas) and of the division (eps)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


class StackedAdamW:
    """The optimizer of a stack of networks.

    Attributes:
        steps: steps taken.
    """

    def __init__(
        self, leaves: Sequence[Tensor], rates: Sequence[Rates], moments: Moments | None = None
    ) -> None:
        """Begin with means of zero.

        Raises:
            ValueError: a leaf has no rates, or another number of networks than they have.
        """
        if len(leaves) != len(rates):
            raise ValueError(f"{len(leaves)} leaves, {len(rates)} rates: want one for each")
        for i, (leaf, rate) in enumerate(zip(leaves, rates, strict=True)):
            if not len(leaf) == len(rate.learning_rate) == len(rate.weight_decay):
                raise ValueError(f"leaf {i} has {len(leaf)} networks, its rates another number")
        self.moments = moments or Moments()
        self.steps = 0
        self.rates = list(rates)
        self.first = [torch.zeros_like(leaf) for leaf in leaves]
        self.second = [torch.zeros_like(leaf) for leaf in leaves]
        self._bind(leaves)

    def _bind(self, leaves: Sequence[Tensor]) -> None:
        self.leaves = list(leaves)
        dtype, device = leaves[0].dtype, leaves[0].device
        # Rates are computed with in float64, as the scalars of torch.optim are.
        self._lr = [rate.learning_rate.to(device, torch.float64) for rate in self.rates]
        self._keep = [
            1 - rate.learning_rate.to(device, torch.float64) * rate.weight_decay.to(device)
            for rate in self.rates
        ]
        self._compiled = HAS_NUMBA and device.type == "cpu" and dtype in CPU_DTYPES
        stacks = zip(leaves, self.first, self.second, strict=True)
        self._rows = [_numpy_rows(*each) for each in stacks]

    def step(self, gradients: Sequence[Tensor], warmup: float = 1.0) -> None:
        """Take one step of every network.

        Args:
            gradients: of the leaves, in their order.
            warmup: factor of all learning rates.
        """
        self.steps += 1
        m = self.moments
        scale = warmup / (1 - m.beta1**self.steps)
        root = math.sqrt(1 - m.beta2**self.steps)
        for i, gradient in enumerate(gradients):
            lr, keep = self._lr[i] * scale, self._keep[i]
            if warmup != 1.0:
                keep = 1 - (1 - keep) * warmup
            if self._compiled:
                self._compiled_step(i, gradient, lr, keep, root)
            else:
                self._tensor_step(i, gradient, lr, keep, root)

    def _compiled_step(
        self, i: int, gradient: Tensor, lr: Tensor, keep: Tensor, root: float
    ) -> None:
        number = CPU_DTYPES[gradient.dtype]
        leaf, first, second = self._rows[i]
        m = self.moments
        rows = gradient.view(len(gradient), -1).numpy()
        # Typed scalars: a Python float would turn the loop into float64.
        constants = (number(1 - m.beta1), number(m.beta2), number(1 - m.beta2), number(m.eps))
        per_row = (lr.numpy().astype(number), keep.numpy().astype(number))
        _adamw_rows(leaf, rows, first, second, *per_row, *constants, number(1 / root))

    def _tensor_step(self, i: int, gradient: Tensor, lr: Tensor, keep: Tensor, root: float) -> None:
        leaf, first, second = self.leaves[i], self.first[i], self.second[i]
        m = self.moments
        shape = (-1, *[1] * (leaf.dim() - 1))
        leaf.mul_(keep.to(leaf.dtype).view(shape))
        first.lerp_(gradient, 1 - m.beta1)
        second.mul_(m.beta2).addcmul_(gradient, gradient, value=1 - m.beta2)
        below = second.sqrt().mul_(1 / root).add_(m.eps)
        leaf.sub_((first / below).mul_(lr.to(leaf.dtype).view(shape)))

    def keep(self, rows: Tensor, leaves: Sequence[Tensor]) -> None:
        """Go on with some of the networks.

        Args:
            rows: which, as indices.
            leaves: theirs.
        """
        self.first = [mean[rows] for mean in self.first]
        self.second = [mean[rows] for mean in self.second]
        self.rates = [
            Rates(rate.learning_rate[rows.cpu()], rate.weight_decay[rows.cpu()])
            for rate in self.rates
        ]
        self._bind(leaves)


def _numpy_rows(*tensors: Tensor) -> tuple[Any, ...]:
    if tensors[0].device.type != "cpu":
        return ()
    return tuple(tensor.view(len(tensor), -1).numpy() for tensor in tensors)


@jit
@no_type_check
def _adamw_rows(leaf, gradient, first, second, lr, keep, new1, beta2, new2, eps, inverse_root):
    """One AdamW step of every row, one pass over it."""
    for row in range(leaf.shape[0]):
        rate, kept = lr[row], keep[row]
        for i in range(leaf.shape[1]):
            g = gradient[row, i]
            mean = first[row, i] + (g - first[row, i]) * new1
            square = second[row, i] * beta2 + g * g * new2
            first[row, i] = mean
            second[row, i] = square
            leaf[row, i] = leaf[row, i] * kept - rate * mean / (
                np.sqrt(square) * inverse_root + eps
            )
