"""Stacks of the toy networks of effective theory (compute.grokking.problems), trained together."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.seeds import EpochSampler, step_seed
from compute.ensembles.trainer import Networks, stack_params
from compute.grokking.parallelograms import CLOSED_BELOW, parallelograms
from compute.grokking.problems import S3_INIT_SCALE, Problem, Setting, draw_split, n_train

S3_CLOSED_BELOW = 0.5
# Tensors with one row per network.
_STACKED = (
    "_first",
    "_second",
    "_sums",
    "_answers",
    "_weights",
    "_is_train",
    "_is_test",
    "_counts",
    "_targets",
    "_half_norms",
    "_target_outputs",
    "_dropout",
)


def init_params(problem: Problem, setting: Setting) -> list[Float[Tensor, "..."]]:
    """Return one network's initial E [p, dim] and decoder layers, in float64."""
    generator = torch.Generator().manual_seed(setting.seed)
    E = torch.rand((problem.p, problem.dim), generator=generator, dtype=torch.float64) - 0.5
    if problem.task == "s3":
        E *= 2 * S3_INIT_SCALE
    decoder = init_layers(problem.shape(), generator)
    return [E, *(part * setting.init_scale for part in decoder)]


class AdditionNetworks(Networks):
    """A stack of networks that share a problem; each has its own setting."""

    def __init__(
        self,
        problem: Problem,
        settings: Sequence[Setting],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Initialise every network from its seed.

        Raises:
            ValueError: no setting.
        """
        if not settings:
            raise ValueError("no network to train: give at least one setting")
        self.problem, self.settings = problem, list(settings)
        initial = [init_params(problem, setting) for setting in settings]
        self.E, *decoder = stack_params(initial, device, dtype)
        self.decoder = StackedMLP(problem.shape(), decoder)
        self.E_gradient = torch.empty_like(self.E)
        self._generator = torch.Generator(device)
        self._init_data(device, dtype)

    def _init_data(self, device: str, dtype: torch.dtype) -> None:
        problem, count = self.problem, len(self.problem.pairs())
        splits = [draw_split(problem, setting.split_seed) for setting in self.settings]
        sizes = np.array([n_train(problem, setting) for setting in self.settings])
        order = np.stack([split.order for split in splits])
        is_train = np.arange(count) < sizes[:, None]
        one_hot = np.eye(problem.p)[problem.pairs()[order]]
        answers = problem.answers()[order]
        targets = np.stack([split.targets for split in splits])

        def tensor(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values).to(device, dtype)

        # Rows are pairs in the network's own order, training pairs first.
        self._first, self._second = tensor(one_hot[:, :, 0]), tensor(one_hot[:, :, 1])
        self._sums = self._first + self._second
        self._answers = torch.as_tensor(answers).to(device)
        self._weights = tensor(is_train / sizes[:, None])
        self._is_train, self._is_test = tensor(is_train), tensor(~is_train)
        self._counts = tensor(np.stack([sizes, np.maximum(count - sizes, 1)], axis=1))
        self._targets = tensor(targets).transpose(1, 2).contiguous()
        self._half_norms = tensor((targets**2).sum(axis=2)[:, None] / 2)
        self._target_outputs = tensor(np.take_along_axis(targets, answers[:, :, None], axis=1))
        self._dropout = tensor(np.array([setting.dropout for setting in self.settings]))
        self._parallelograms = tensor(parallelograms(problem.p).rows(problem.p))
        self._sizes = sizes.tolist()
        self._sampler = EpochSampler([setting.seed for setting in self.settings])
        self._update_flags()

    @property
    def params(self) -> list[Tensor]:
        """E [networks, p, dim], then the decoder's layers."""
        return [self.E, *self.decoder.params]

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of `params`."""
        return [self.E_gradient, *self.decoder.gradients]

    def rates(self) -> list[Rates]:
        """Return the rates of `params`."""
        of_E = Rates.from_settings(self.settings, "lr_representation", "wd_representation")
        decoder = Rates.from_settings(self.settings, "lr_decoder", "wd_decoder")
        return [of_E, *[decoder] * len(self.decoder.params)]

    def optimizer(self) -> StackedAdamW:
        """Return an optimizer with each network's own rates."""
        return StackedAdamW(self.params, self.rates())

    def prepare(self, step: int) -> None:
        """Compute the gradients of the training loss of every network."""
        # All pairs, with weight 0 outside the batch: results must not depend on the other networks.
        masks = self._masks(step)
        output = self.decoder.forward(self._inputs(), masks)
        self._input_backward(self.decoder.backward(self._output_grad(output, step)))
        # Measures are evaluated without dropout.
        self._output: Tensor | None = output if masks is None else None

    def _inputs(self) -> Float[Tensor, "networks pairs dim"]:
        if self.problem.task == "addition":
            return torch.bmm(self._sums, self.E)
        left, right = self._matrices()
        return (left @ right).flatten(2)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        shape = (len(self.E), -1, 3, 3)
        return (self._first @ self.E).view(shape), (self._second @ self.E).view(shape)

    def _input_backward(self, grad: Tensor) -> None:
        """Write the gradient of E from that of the decoder's input."""
        if self.problem.task == "addition":
            torch.bmm(self._sums.transpose(1, 2), grad, out=self.E_gradient)
            return
        left, right = self._matrices()
        product = grad.view(*grad.shape[:2], 3, 3)
        of_left = (product @ right.transpose(2, 3)).flatten(2)
        of_right = (left.transpose(2, 3) @ product).flatten(2)
        self.E_gradient = torch.bmm(self._first.transpose(1, 2), of_left)
        self.E_gradient += torch.bmm(self._second.transpose(1, 2), of_right)

    def _output_grad(self, output: Tensor, step: int) -> Tensor:
        weights = self._step_weights(step)[:, :, None]
        if self.problem.loss == "mse":
            residual = output - self._target_outputs
            return residual.mul_(weights * (2 / output.shape[2]))
        grad = output.softmax(dim=2)
        grad.scatter_add_(2, self._answers[:, :, None], -torch.ones_like(grad[:, :, :1]))
        return grad.mul_(weights)

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name.

        train_loss and test_loss (nats or squared error), train_accuracy and test_accuracy (0
        without test pairs), rqi, and representation [networks, p, dim].
        """
        output = self._output
        if output is None:
            output = self._output = self.decoder.forward(self._inputs())
        measures: dict[str, Tensor] = {}
        if any(name.endswith("accuracy") for name in names):
            is_correct = (self._scores(output).argmax(dim=2) == self._answers).to(output.dtype)
            # Divide counts, not weighted sums: 9 of 10 must be exactly the threshold 0.9.
            measures["train_accuracy"] = (is_correct * self._is_train).sum(1) / self._counts[:, 0]
            measures["test_accuracy"] = (is_correct * self._is_test).sum(1) / self._counts[:, 1]
        if any(name.endswith("loss") for name in names):
            losses = self._pair_losses(output)
            measures["train_loss"] = (losses * self._is_train).sum(dim=1) / self._counts[:, 0]
            measures["test_loss"] = (losses * self._is_test).sum(dim=1) / self._counts[:, 1]
        if "rqi" in names:
            measures["rqi"] = self._rqi()
        if "representation" in names:
            measures["representation"] = self.E
        return {name: measures[name] for name in names}

    def _scores(self, output: Tensor) -> Tensor:
        if self.problem.loss == "ce":
            return output
        return torch.baddbmm(self._half_norms, output, self._targets, beta=-1)

    def _pair_losses(self, output: Tensor) -> Tensor:
        if self.problem.loss == "mse":
            return ((output - self._target_outputs) ** 2).mean(dim=2)
        log_p = output.log_softmax(dim=2).gather(2, self._answers[:, :, None])
        return -log_p[:, :, 0]

    def _rqi(self) -> Tensor:
        if self.problem.task == "s3":
            return self._s3_rqi()
        unit = _normalise(self.E)
        errors = ((self._parallelograms @ unit) ** 2).mean(dim=2)
        # A constant representation closes no parallelogram.
        is_closed = (errors < CLOSED_BELOW) & (unit != 0).flatten(1).any(dim=1)[:, None]
        return is_closed.to(self.E.dtype).mean(dim=1)

    def _s3_rqi(self) -> Tensor:
        """Return the share of input pairs of equal product with similar matrix products."""
        unit = _normalise(self._inputs())
        distances = ((unit[:, :, None] - unit[:, None]) ** 2).mean(dim=3)
        is_equal = self._answers[:, :, None] == self._answers[:, None]
        is_equal &= torch.ones_like(is_equal[0]).triu(1)
        has_spread = (unit != 0).flatten(1).any(dim=1)[:, None, None]
        is_closed = is_equal & (distances < S3_CLOSED_BELOW) & has_spread
        return is_closed.sum(dim=(1, 2)).to(self.E.dtype) / is_equal.sum(dim=(1, 2))

    def _step_weights(self, step: int) -> Tensor:
        """Return the weight of every pair in the loss of a step."""
        if not self._has_batches:
            return self._weights
        weights = self._weights.clone()
        for row, (setting, count) in enumerate(zip(self.settings, self._sizes, strict=True)):
            if 0 < setting.batch_size < count:
                weights[row] = 0
                batch = self._sampler.batch(row, step, count, setting.batch_size)
                weights[row, batch.to(weights.device)] = 1 / setting.batch_size
        return weights

    def _masks(self, step: int) -> list[Tensor] | None:
        """Return the dropout masks of both hidden layers."""
        if not self._has_dropout:
            return None
        shape = (2, self._first.shape[1], self.problem.width)
        # Seeded by network and step: the same in every stack, and after a resume.
        uniform = torch.stack(
            [
                torch.rand(
                    shape,
                    generator=self._generator.manual_seed(step_seed(setting.seed, step)),
                    device=self.E.device,
                )
                for setting in self.settings
            ]
        )
        rate = self._dropout[:, None, None]
        return [(uniform[:, layer] >= rate).to(self.E.dtype) / (1 - rate) for layer in range(2)]

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        indices = rows.tolist()
        self.E, self.E_gradient = self.E[rows], self.E_gradient[rows]
        self.decoder.select(rows)
        self.settings = [self.settings[i] for i in indices]
        self._sizes = [self._sizes[i] for i in indices]
        self._sampler.select(indices)
        for name in _STACKED:
            setattr(self, name, getattr(self, name)[rows])
        self._update_flags()

    def _update_flags(self) -> None:
        self._has_dropout = any(setting.dropout > 0 for setting in self.settings)
        self._has_batches = any(
            0 < setting.batch_size < count
            for setting, count in zip(self.settings, self._sizes, strict=True)
        )
        self._output = None


def _normalise(values: Float[Tensor, "networks n dim"]) -> Float[Tensor, "networks n dim"]:
    """Return values of zero mean and unit deviation (ddof 1) per dimension, 0 where constant."""
    centred = values - values.mean(dim=1, keepdim=True)
    spread = centred.std(dim=1, keepdim=True)
    return torch.where(spread > 0, centred / spread, 0)
