"""Omnigrok: grokking caused by large initial parameters, and its removal on a sphere.

Source: arXiv:2210.01117. The initial parameters of a perceptron are multiplied by alpha. On the
sphere, weight decay is 0 and every step rescales all parameters together to their initial norm.
The losses there, over alpha, are the reduced landscape: the train loss is L-shaped, the test loss
U-shaped, and both are low in the Goldilocks zone. Off the sphere, a network that starts outside the
zone fits first and generalises once decay, w(t) = w0 exp(-lr wd t), has brought it into the zone.

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
from compute.ensembles.trainer import Networks, rescale_to_sphere, squared_norm, stack_params
from compute.grokking.omnigrok_setting import Setting
from compute.grokking.supervised import CORRECT_BELOW, Supervised

MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm")


def _init_params(shape: Shape, setting: Setting) -> list[Tensor]:
    layers = init_layers(shape, torch.Generator().manual_seed(setting.seed))
    return [layer * setting.alpha for layer in layers]


class PerceptronNetworks(Networks):
    """A stack of perceptrons of one shape, on data sets of one size."""

    def __init__(
        self,
        shape: Shape,
        settings: Sequence[Setting],
        data: Sequence[Supervised],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Initialise every network from its seed.

        Args:
            shape: shape of every network.
            settings: one per network.
            data: one data set per network, or one that all share.

        Raises:
            ValueError: no network, or data of different sizes.
        """
        if not settings or len(data) not in {1, len(settings)}:
            raise ValueError(
                f"{len(settings)} settings, {len(data)} data sets: want one for each or for all"
            )
        if len({data_set.inputs.shape for data_set in data}) > 1:
            raise ValueError("data sets differ in size; train one stack per size")
        self.settings = list(settings)
        initial = [_init_params(shape, setting) for setting in settings]
        self.mlp = StackedMLP(shape, stack_params(initial, device, dtype))
        self._train_mlp, self._test_mlp = (StackedMLP(shape, self.mlp.params) for _ in range(2))
        self._norms = self._norm()
        self._on_sphere = torch.tensor([s.on_sphere for s in settings], device=device)
        self._sampler = EpochSampler([setting.seed for setting in settings])
        train = [(part.inputs, part.targets, part.classes) for part in data]
        test = [(part.test_inputs, part.test_targets, part.test_classes) for part in data]
        self._train = _DataSet.stack(train, device, dtype)
        self._test = _DataSet.stack(test, device, dtype)
        self._output: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """W and b of every layer."""
        return self.mlp.params

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of `params`."""
        return self.mlp.gradients

    def optimizer(self) -> StackedAdamW:
        """Return an optimizer with each network's own rates."""
        return StackedAdamW(self.params, [Rates.from_settings(self.settings)] * len(self.params))

    def prepare(self, step: int) -> None:
        """Compute the gradients of the mean squared error."""
        count = self._train.inputs.shape[1]
        sizes = {setting.batch_size for setting in self.settings}
        if len(sizes) == 1 and 0 < (size := sizes.pop()) < count:
            self._output = None
            self._backward(self._train.gather(self._batches(step, count, size)), 1 / size)
        else:
            weights = self._weights(step, count)
            self._output = self._backward(self._train, weights)

    def _backward(self, data: "_DataSet", weights: Tensor | float) -> Tensor:
        """Write the gradients of the weighted squared error; return the outputs."""
        output = self.mlp.forward(data.expand(len(self.params[0])))
        residual = output - data.targets
        self.mlp.weights_backward(residual.mul_(weights * (2 / output.shape[2])))
        return output

    def _batches(self, step: int, count: int, size: int) -> Int[Tensor, "networks size"]:
        batches = [self._sampler.batch(row, step, count, size) for row in range(len(self.settings))]
        return torch.stack(batches).to(self.params[0].device)

    def _weights(self, step: int, count: int) -> Tensor | float:
        """Return the weight of every row at a step: 1 / rows, or 1 / batch size within the batch.

        For stacks of several batch sizes, which compute all rows.
        """
        if not any(0 < setting.batch_size < count for setting in self.settings):
            return 1 / count
        weights = self.params[0].new_zeros(len(self.settings), count, 1)
        for row, setting in enumerate(self.settings):
            size = min(setting.batch_size or count, count)
            batch = self._sampler.batch(row, step, count, size)
            weights[row, batch.to(weights.device)] = 1 / size
        return weights

    def after_step(self) -> None:
        """Rescale networks on the sphere to their initial norm."""
        rescale_to_sphere(self.params, self._norms, self._on_sphere)

    def _norm(self) -> Float[Tensor, " networks"]:
        return squared_norm(self.params).sqrt()

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name: losses (squared error), accuracies, norm."""
        measures: dict[str, Tensor] = {}
        if any(name.startswith("train") for name in names):
            output = self._output
            if output is None:  # the step computed a batch only
                output = self._train_mlp.forward(self._train.expand(len(self.params[0])))
            self._train.add_measures(measures, "train", output)
        if any(name.startswith("test") for name in names):
            output = self._test_mlp.forward(self._test.expand(len(self.params[0])))
            self._test.add_measures(measures, "test", output)
        if "norm" in names:
            measures["norm"] = self._norm()
        return {name: measures[name] for name in names}

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        self.mlp.select(rows)
        shape = self.mlp.shape
        self._train_mlp, self._test_mlp = (StackedMLP(shape, self.mlp.params) for _ in range(2))
        self._norms, self._on_sphere = self._norms[rows], self._on_sphere[rows]
        self.settings = [self.settings[i] for i in rows.tolist()]
        self._sampler.select(rows.tolist())
        self._train, self._test = self._train.select(rows), self._test.select(rows)
        self._output = None


@dataclass(frozen=True)
class _DataSet:
    """Inputs and targets on the device, [networks, rows, ...] or [1, rows, ...] if shared."""

    inputs: Tensor
    targets: Tensor
    classes: Tensor | None

    @classmethod
    def stack(
        cls,
        parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
        device: str,
        dtype: torch.dtype,
    ) -> "_DataSet":
        inputs = torch.as_tensor(np.stack([part[0] for part in parts])).to(device, dtype)
        targets = torch.as_tensor(np.stack([part[1] for part in parts])).to(device, dtype)
        if parts[0][2] is None:
            return cls(inputs, targets, None)
        classes = [torch.as_tensor(part[2]) for part in parts if part[2] is not None]
        return cls(inputs, targets, torch.stack(classes).to(device))

    def expand(self, count: int) -> Tensor:
        """Return the inputs of `count` networks."""
        return self.inputs.expand(count, -1, -1)

    def gather(self, batches: Tensor) -> "_DataSet":
        """Return the rows of each network's batch [networks, rows]."""
        network = torch.arange(len(batches), device=batches.device)[:, None]
        network = network if len(self.inputs) > 1 else torch.zeros_like(network)
        return _DataSet(self.inputs[network, batches], self.targets[network, batches], None)

    def add_measures(self, measures: dict[str, Tensor], part: str, output: Tensor) -> None:
        """Add loss and accuracy of the "train" or "test" part to `measures`."""
        errors = ((output - self.targets) ** 2).mean(dim=2)
        measures[f"{part}_loss"] = errors.mean(dim=1)
        is_correct = (
            errors < CORRECT_BELOW if self.classes is None else output.argmax(dim=2) == self.classes
        )
        # Divide a count, not a mean of floats: 180 of 200 must be exactly the threshold 0.9.
        measures[f"{part}_accuracy"] = is_correct.sum(dim=1).to(output.dtype) / is_correct.shape[1]

    def select(self, rows: Tensor) -> "_DataSet":
        if len(self.inputs) == 1:
            return self
        classes = None if self.classes is None else self.classes[rows]
        return _DataSet(self.inputs[rows], self.targets[rows], classes)
