"""Omnigrok: grokking from the size of the initial parameters, and its removal on a sphere.

Source: arXiv:2210.01117. Every parameter of a perceptron is multiplied by alpha at its start. On
the sphere, weight decay is 0 and after every step all parameters together are brought back to
their initial norm; the losses there, over alpha, are the reduced landscape: train is L-shaped, test
U-shaped, and their lowest common place is the Goldilocks zone. Off the sphere a network that starts
outside it fits first and generalises when decay, w(t) = w0 exp(-lr wd t), has brought it in.

Published settings (MNIST): 784-200-200-10 ReLU, 1,000 images, squared error to one-hot targets,
AdamW 1e-3, weight decay 0.01, batch 200, 1e5 steps, alpha 8, float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.seeds import EpochSampler
from compute.ensembles.shapes import Shape
from compute.ensembles.trainer import Networks, squared_norm
from compute.grokking.omnigrok_setting import Setting
from compute.grokking.supervised import CORRECT_BELOW, Supervised

MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm")


class PerceptronNetworks(Networks):
    """A stack of perceptrons of one shape, each on its own data of one size."""

    def __init__(
        self,
        shape: Shape,
        settings: Sequence[Setting],
        data: Sequence[Supervised],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin every network from its own seed.

        Args:
            shape: of every network.
            settings: one a network.
            data: one a network, or one for all; the same object is stored once.

        Raises:
            ValueError: no network, or data of different sizes.
        """
        if not settings or len(data) not in {1, len(settings)}:
            raise ValueError(f"{len(settings)} settings, {len(data)} data sets: want one for each")
        if len({one.inputs.shape for one in data}) > 1:
            raise ValueError("data of one stack must have one size; stack each size alone")
        self.settings = list(settings)
        begun = []
        for setting in settings:
            parts = init_layers(shape, torch.Generator().manual_seed(setting.seed))
            begun.append([part * setting.alpha for part in parts])
        self.mlp = StackedMLP(
            shape, [torch.stack(parts).to(device, dtype) for parts in zip(*begun, strict=True)]
        )
        self._tester, self._trier = (StackedMLP(shape, self.mlp.params) for _ in range(2))
        self._norms = self._norm()
        self._sphere = torch.tensor([s.on_sphere for s in settings], device=device)
        self._epochs = EpochSampler([setting.seed for setting in settings])
        self._train = _Rows.of([(d.inputs, d.targets, d.classes) for d in data], device, dtype)
        self._test = _Rows.of(
            [(d.test_inputs, d.test_targets, d.test_classes) for d in data], device, dtype
        )
        self._output: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """W and b of every layer."""
        return self.mlp.params

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the leaves."""
        return self.mlp.gradients

    def optimizer(self) -> StackedAdamW:
        """Return the optimizer of the stack, with each network's own rates."""
        return StackedAdamW(self.params, [Rates.from_settings(self.settings)] * len(self.params))

    def prepare(self, step: int) -> None:
        """Compute the gradients of the mean squared error."""
        count = self._train.inputs.shape[1]
        sizes = {setting.batch_size for setting in self.settings}
        if len(sizes) == 1 and 0 < (size := sizes.pop()) < count:
            self._output = None
            self._prepare(self._train.chosen(self._batches(step, count, size)), 1 / size)
        else:
            weights = self._weights(step, count)
            self._output = self._prepare(self._train, weights)

    def _prepare(self, rows: "_Rows", weights: Tensor | float) -> Tensor:
        output = self.mlp.forward(rows.inputs_for(len(self.params[0])))
        off = output - rows.targets
        self.mlp.weights_backward(off.mul_(weights * (2 / output.shape[2])))
        return output

    def _batches(self, step: int, count: int, size: int) -> Int[Tensor, "networks size"]:
        chosen = [self._epochs.batch(row, step, count, size) for row in range(len(self.settings))]
        return torch.stack(chosen).to(self.params[0].device)

    def _weights(self, step: int, count: int) -> Tensor | float:
        """Return how much each row counts at a step: 1 / rows, or 1 / batch within the batch.

        All rows are computed, so this is for stacks whose batches have several sizes.
        """
        if not any(0 < setting.batch_size < count for setting in self.settings):
            return 1 / count
        weights = self.params[0].new_zeros(len(self.settings), count, 1)
        for row, setting in enumerate(self.settings):
            size = min(setting.batch_size or count, count)
            chosen = self._epochs.batch(row, step, count, size)
            weights[row, chosen.to(weights.device)] = 1 / size
        return weights

    def after_step(self) -> None:
        """Bring what is on the sphere back to it."""
        if self._sphere.any():
            factor = torch.where(self._sphere, self._norms / self._norm(), 1.0)
            for param in self.params:
                param.mul_(factor[:, None, None])

    def _norm(self) -> Float[Tensor, " networks"]:
        return squared_norm(self.params).sqrt()

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name: losses (squared error), accuracies, norm."""
        made: dict[str, Tensor] = {}
        if any(name.startswith("train") for name in names):
            output = self._output
            if output is None:  # a batch says nothing of all rows
                output = self._trier.forward(self._train.inputs_for(len(self.params[0])))
            self._train.measure(output, "train", made)
        if any(name.startswith("test") for name in names):
            output = self._tester.forward(self._test.inputs_for(len(self.params[0])))
            self._test.measure(output, "test", made)
        if "norm" in names:
            made["norm"] = self._norm()
        return {name: made[name] for name in names}

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        self.mlp.select(rows)
        shape = self.mlp.shape
        self._tester, self._trier = (StackedMLP(shape, self.mlp.params) for _ in range(2))
        self._norms, self._sphere = self._norms[rows], self._sphere[rows]
        self.settings = [self.settings[i] for i in rows.tolist()]
        self._epochs.select(rows.tolist())
        self._train, self._test = self._train.kept(rows), self._test.kept(rows)
        self._output = None


@dataclass(frozen=True)
class _Rows:
    """Inputs and targets on the device: of every network, or [1, ...] for all."""

    inputs: Tensor
    targets: Tensor
    classes: Tensor | None

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
        device: str,
        dtype: torch.dtype,
    ) -> "_Rows":
        inputs = torch.as_tensor(np.stack([part[0] for part in parts])).to(device, dtype)
        targets = torch.as_tensor(np.stack([part[1] for part in parts])).to(device, dtype)
        if parts[0][2] is None:
            return cls(inputs, targets, None)
        classes = [torch.as_tensor(part[2]) for part in parts if part[2] is not None]
        return cls(inputs, targets, torch.stack(classes).to(device))

    def inputs_for(self, count: int) -> Tensor:
        return self.inputs.expand(count, -1, -1)

    def chosen(self, batches: Tensor) -> "_Rows":
        """Return some rows of each network, [networks, rows]."""
        own = torch.arange(len(batches), device=batches.device)[:, None]
        own = own if len(self.inputs) > 1 else torch.zeros_like(own)
        return _Rows(self.inputs[own, batches], self.targets[own, batches], None)

    def measure(self, output: Tensor, which: str, made: dict[str, Tensor]) -> None:
        errors = ((output - self.targets) ** 2).mean(dim=2)
        made[f"{which}_loss"] = errors.mean(dim=1)
        right = (
            errors < CORRECT_BELOW if self.classes is None else output.argmax(dim=2) == self.classes
        )
        # A count first: 180 of 200 must be exactly 0.9, a threshold.
        made[f"{which}_accuracy"] = right.sum(dim=1).to(output.dtype) / right.shape[1]

    def kept(self, rows: Tensor) -> "_Rows":
        if len(self.inputs) == 1:
            return self
        classes = None if self.classes is None else self.classes[rows]
        return _Rows(self.inputs[rows], self.targets[rows], classes)
