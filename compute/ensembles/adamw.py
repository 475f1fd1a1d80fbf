"""AdamW for a stack of networks, each with its own learning rate and weight decay.

Source: arXiv:1711.05101, algorithm 2, in the form of `torch.optim.AdamW`: decay by lr x wd first,
then the step. A parameter is a stack of one tensor of every network, [networks, ...].

On a CPU one compiled pass updates every number: the state of a stack does not fit into a cache, so
that a dozen whole-array operations would take as long as the matrix products. On other devices, or
without numba, the same update runs as tensor operations.
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
    """Rates of one parameter of every network.

    Attributes:
        learning_rate: learning rates.
        weight_decay: decoupled decay; multiplied by the learning rate.
    """

    learning_rate: Float[Tensor, " networks"]
    weight_decay: Float[Tensor, " networks"]

    @classmethod
    def from_settings(
        cls,
        settings: Sequence[Any],
        learning_rate: str = "learning_rate",
        weight_decay: str = "weight_decay",
    ) -> "Rates":
        """Return the rates in two attributes of the networks' settings."""
        columns = [
            torch.tensor([getattr(setting, name) for setting in settings], dtype=torch.float64)
            for name in (learning_rate, weight_decay)
        ]
        return cls(*columns)


@dataclass(frozen=True)
class Betas:
    """Constants of the running averages (betas) and of the division (eps)."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


class StackedAdamW:
    """Optimizer of a stack of networks.

    Attributes:
        steps: number of steps taken.
        exp_avg: running averages of the gradients.
        exp_avg_sq: running averages of the squared gradients.
    """

    def __init__(
        self, params: Sequence[Tensor], rates: Sequence[Rates], betas: Betas | None = None
    ) -> None:
        """Start with averages of zero.

        Raises:
            ValueError: rates and parameters differ in number, or in their number of networks.
        """
        if len(params) != len(rates):
            raise ValueError(f"{len(params)} params, {len(rates)} rates: want one for each")
        for i, (param, rate) in enumerate(zip(params, rates, strict=True)):
            if not len(param) == len(rate.learning_rate) == len(rate.weight_decay):
                raise ValueError(f"param {i} has {len(param)} networks, its rates another number")
        self.betas = betas or Betas()
        self.steps = 0
        self.rates = list(rates)
        self.exp_avg = [torch.zeros_like(param) for param in params]
        self.exp_avg_sq = [torch.zeros_like(param) for param in params]
        self._bind(params)

    def _bind(self, params: Sequence[Tensor]) -> None:
        self.params = list(params)
        dtype, device = params[0].dtype, params[0].device
        # In float64, as the scalars of torch.optim.
        self._lr = [rate.learning_rate.to(device, torch.float64) for rate in self.rates]
        self._decay = [
            1 - rate.learning_rate.to(device, torch.float64) * rate.weight_decay.to(device)
            for rate in self.rates
        ]
        self._is_compiled = HAS_NUMBA and device.type == "cpu" and dtype in CPU_DTYPES
        stacks = zip(params, self.exp_avg, self.exp_avg_sq, strict=True)
        self._rows = [_numpy_rows(*tensors) for tensors in stacks]

    def step(self, gradients: Sequence[Tensor], warmup: float = 1.0) -> None:
        """Update every network.

        Args:
            gradients: gradients of the parameters, in their order.
            warmup: factor of all learning rates.
        """
        self.steps += 1
        betas = self.betas
        scale = warmup / (1 - betas.beta1**self.steps)
        root = math.sqrt(1 - betas.beta2**self.steps)
        for i, gradient in enumerate(gradients):
            lr, decay = self._lr[i] * scale, self._decay[i]
            if warmup != 1.0:
                decay = 1 - (1 - decay) * warmup
            if self._is_compiled:
                self._compiled_step(i, gradient, lr, decay, root)
            else:
                self._tensor_step(i, gradient, lr, decay, root)

    def _compiled_step(
        self, i: int, gradient: Tensor, lr: Tensor, decay: Tensor, root: float
    ) -> None:
        scalar = CPU_DTYPES[gradient.dtype]
        b = self.betas
        rows = gradient.view(len(gradient), -1).numpy()
        # Typed scalars: a Python float would turn the loop into float64.
        constants = (scalar(1 - b.beta1), scalar(b.beta2), scalar(1 - b.beta2), scalar(b.eps))
        per_row = (lr.numpy().astype(scalar), decay.numpy().astype(scalar))
        param, exp_avg, exp_avg_sq = self._rows[i]
        _adamw_rows(param, rows, exp_avg, exp_avg_sq, *per_row, *constants, scalar(1 / root))

    def _tensor_step(
        self, i: int, gradient: Tensor, lr: Tensor, decay: Tensor, root: float
    ) -> None:
        param, exp_avg, exp_avg_sq = self.params[i], self.exp_avg[i], self.exp_avg_sq[i]
        b = self.betas
        shape = (-1, *[1] * (param.dim() - 1))
        param.mul_(decay.to(param.dtype).view(shape))
        exp_avg.lerp_(gradient, 1 - b.beta1)
        exp_avg_sq.mul_(b.beta2).addcmul_(gradient, gradient, value=1 - b.beta2)
        denominator = exp_avg_sq.sqrt().mul_(1 / root).add_(b.eps)
        param.sub_((exp_avg / denominator).mul_(lr.to(param.dtype).view(shape)))

    def select(self, rows: Tensor, params: Sequence[Tensor]) -> None:
        """Replace the stack by some of its rows.

        Args:
            rows: indices of the networks.
            params: parameters of these networks.
        """
        self.exp_avg = [average[rows] for average in self.exp_avg]
        self.exp_avg_sq = [average[rows] for average in self.exp_avg_sq]
        self.rates = [
            Rates(rate.learning_rate[rows.cpu()], rate.weight_decay[rows.cpu()])
            for rate in self.rates
        ]
        self._bind(params)


def _numpy_rows(*tensors: Tensor) -> tuple[Any, ...]:
    if tensors[0].device.type != "cpu":
        return ()
    return tuple(tensor.view(len(tensor), -1).numpy() for tensor in tensors)


@jit
@no_type_check
def _adamw_rows(
    param, gradient, exp_avg, exp_avg_sq, lr, decay, new1, beta2, new2, eps, inverse_root
):
    """Update every row in one pass."""
    for row in range(param.shape[0]):
        row_lr, row_decay = lr[row], decay[row]
        for i in range(param.shape[1]):
            g = gradient[row, i]
            mean = exp_avg[row, i] + (g - exp_avg[row, i]) * new1
            square = exp_avg_sq[row, i] * beta2 + g * g * new2
            exp_avg[row, i] = mean
            exp_avg_sq[row, i] = square
            param[row, i] = param[row, i] * row_decay - row_lr * mean / (
                np.sqrt(square) * inverse_root + eps
            )
