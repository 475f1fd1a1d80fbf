"""Stacks of the toy networks of effective theory (compute.grokking.problems), trained together."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.seeds import EpochSampler, step_seed
from compute.ensembles.trainer import Networks
from compute.grokking.parallelograms import CLOSED_BELOW, parallelograms
from compute.grokking.problems import S3_INIT_SCALE, Problem, Setting, n_train, split_of

S3_IS_CLOSE = 0.5
# What has a row for every network.
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
    "_wanted",
    "_rates",
)


def init_params(problem: Problem, setting: Setting) -> list[Float[Tensor, "..."]]:
    """Return one network's E [p, dim] and decoder, in float64."""
    generator = torch.Generator().manual_seed(setting.seed)
    E = torch.rand((problem.p, problem.dim), generator=generator, dtype=torch.float64) - 0.5
    if problem.task == "s3":
        E *= 2 * S3_INIT_SCALE
    decoder = init_layers(problem.shape(), generator)
    return [E, *(part * setting.init_scale for part in decoder)]


class AdditionNetworks(Networks):
    """A stack of such networks, as `compute.ensembles.trainer` trains it."""

    def __init__(
        self,
        problem: Problem,
        settings: Sequence[Setting],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin every network from its own seed.

        Raises:
            ValueError: no setting.
        """
        if not settings:
            raise ValueError("no network to train: give at least one setting")
        self.problem, self.settings = problem, list(settings)
        begun = [init_params(problem, setting) for setting in settings]
        stacked = [torch.stack(parts).to(device, dtype) for parts in zip(*begun, strict=True)]
        self.E, self.decoder = stacked[0], StackedMLP(problem.shape(), stacked[1:])
        self.E_gradient = torch.empty_like(self.E)
        self._generator = torch.Generator(device)
        self._data(device, dtype)

    def _data(self, device: str, dtype: torch.dtype) -> None:
        problem, count = self.problem, len(self.problem.pairs())
        splits = [split_of(problem, setting.split_seed) for setting in self.settings]
        sizes = np.array([n_train(problem, setting) for setting in self.settings])
        order = np.stack([split.order for split in splits])
        is_train = np.arange(count) < sizes[:, None]
        sides = np.eye(problem.p)[problem.pairs()[order]]
        answers = problem.answers()[order]
        targets = np.stack([split.targets for split in splits])

        def put(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values).to(device, dtype)

        # Rows are pairs in the network's own order: those it is trained on come first.
        self._first, self._second = put(sides[:, :, 0]), put(sides[:, :, 1])
        self._sums = self._first + self._second
        self._answers = torch.as_tensor(answers).to(device)
        self._weights = put(is_train / sizes[:, None])
        self._is_train, self._is_test = put(is_train), put(~is_train)
        self._counts = put(np.stack([sizes, np.maximum(count - sizes, 1)], axis=1))
        self._targets = put(targets).transpose(1, 2).contiguous()
        self._half_norms = put((targets**2).sum(axis=2)[:, None] / 2)
        self._wanted = put(np.take_along_axis(targets, answers[:, :, None], axis=1))
        self._rates = put(np.array([setting.dropout for setting in self.settings]))
        self._corners = put(parallelograms(problem.p).rows(problem.p))
        self._sizes = sizes.tolist()
        self._batches = [setting.batch_size for setting in self.settings]
        self._epochs = EpochSampler([setting.seed for setting in self.settings])
        self._output: Tensor | None = None
        self._settle()

    @property
    def params(self) -> list[Tensor]:
        """E [networks, p, dim], then the decoder's."""
        return [self.E, *self.decoder.params]

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the leaves."""
        return [self.E_gradient, *self.decoder.gradients]

    def rates(self) -> list[Rates]:
        """Return the rates of the leaves."""
        own = Rates.from_settings(self.settings, "lr_representation", "wd_representation")
        decoder = Rates.from_settings(self.settings, "lr_decoder", "wd_decoder")
        return [own, *[decoder] * len(self.decoder.params)]

    def optimizer(self) -> StackedAdamW:
        """Return the optimizer of the stack, with each network's own rates."""
        return StackedAdamW(self.params, self.rates())

    def prepare(self, step: int) -> None:
        """Compute the gradients of the training loss of every network."""
        rows = self._trained_rows
        weights = self._step_weights(step)[:, :rows]
        masks = self._masks(step)
        x = self._inputs()
        output = self.decoder.forward(x, masks)
        slope = self._loss_slope(output[:, :rows], weights)
        self._input_backward(self.decoder.backward(slope))
        # With dropout a look needs a pass of its own.
        self._output = output if masks is None else None

    def _inputs(self) -> Float[Tensor, "networks pairs dim"]:
        if self.problem.task == "addition":
            return torch.bmm(self._sums, self.E)
        left, right = self._matrices()
        return (left @ right).flatten(2)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        shape = (len(self.E), -1, 3, 3)
        return (self._first @ self.E).view(shape), (self._second @ self.E).view(shape)

    def _input_backward(self, slope: Tensor) -> None:
        rows = slope.shape[1]
        if self.problem.task == "addition":
            torch.bmm(self._sums[:, :rows].transpose(1, 2), slope, out=self.E_gradient)
            return
        left, right = (side[:, :rows] for side in self._matrices())
        product = slope.view(len(slope), rows, 3, 3)
        of_left = (product @ right.transpose(2, 3)).flatten(2)
        of_right = (left.transpose(2, 3) @ product).flatten(2)
        self.E_gradient = torch.bmm(self._first[:, :rows].transpose(1, 2), of_left)
        self.E_gradient += torch.bmm(self._second[:, :rows].transpose(1, 2), of_right)

    def _loss_slope(self, output: Tensor, weights: Tensor) -> Tensor:
        rows = output.shape[1]
        if self.problem.loss == "mse":
            off = output - self._wanted[:, :rows]
            return off.mul_(weights[:, :, None] * (2 / output.shape[2]))
        slope = output.softmax(dim=2)
        slope.scatter_add_(2, self._answers[:, :rows, None], -torch.ones_like(slope[:, :, :1]))
        return slope.mul_(weights[:, :, None])

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name.

        train_loss and test_loss (nats or squared error), train_accuracy and test_accuracy (0 where
        there is no pair to test on), rqi, and representation [networks, p, dim].
        """
        output = self._output
        if output is None:
            output = self._output = self.decoder.forward(self._inputs())
        made: dict[str, Tensor] = {}
        if any(name.endswith("accuracy") for name in names):
            correct = (self._scores(output).argmax(dim=2) == self._answers).to(output.dtype)
            # Counts first: 9 of 10 must be exactly 0.9, a threshold.
            made["train_accuracy"] = (correct * self._is_train).sum(dim=1) / self._counts[:, 0]
            made["test_accuracy"] = (correct * self._is_test).sum(dim=1) / self._counts[:, 1]
        if any(name.endswith("loss") for name in names):
            losses = self._row_losses(output)
            made["train_loss"] = (losses * self._is_train).sum(dim=1) / self._counts[:, 0]
            made["test_loss"] = (losses * self._is_test).sum(dim=1) / self._counts[:, 1]
        if "rqi" in names:
            made["rqi"] = self._rqi()
        if "representation" in names:
            made["representation"] = self.E
        return {name: made[name] for name in names}

    def _scores(self, output: Tensor) -> Tensor:
        if self.problem.loss == "ce":
            return output
        return torch.baddbmm(self._half_norms, output, self._targets, beta=-1)

    def _row_losses(self, output: Tensor) -> Tensor:
        if self.problem.loss == "mse":
            return ((output - self._wanted) ** 2).mean(dim=2)
        chosen = output.log_softmax(dim=2).gather(2, self._answers[:, :, None])
        return -chosen[:, :, 0]

    def _rqi(self) -> Tensor:
        if self.problem.task == "s3":
            return self._s3_rqi()
        unit = _normalised(self.E)
        off = ((self._corners @ unit) ** 2).mean(dim=2)
        # Without spread nothing is represented.
        closed = (off < CLOSED_BELOW) & (unit != 0).flatten(1).any(dim=1)[:, None]
        return closed.to(self.E.dtype).mean(dim=1)

    def _s3_rqi(self) -> Tensor:
        """Share of pairs of inputs with the same product whose matrix products are close."""
        unit = _normalised(self._inputs())
        apart = ((unit[:, :, None] - unit[:, None]) ** 2).mean(dim=3)
        same = self._answers[:, :, None] == self._answers[:, None]
        same &= torch.ones_like(same[0]).triu(1)
        closed = same & (apart < S3_IS_CLOSE) & (unit != 0).flatten(1).any(dim=1)[:, None, None]
        return closed.sum(dim=(1, 2)).to(self.E.dtype) / same.sum(dim=(1, 2))

    def _step_weights(self, step: int) -> Tensor:
        if not self._has_batches:
            return self._weights
        weights = self._weights.clone()
        for row, size in enumerate(self._batches):
            count = self._sizes[row]
            if 0 < size < count:
                weights[row] = 0
                chosen = self._epochs.batch(row, step, count, size)
                weights[row, chosen.to(weights.device)] = 1 / size
        return weights

    def _masks(self, step: int) -> list[Tensor] | None:
        if not self._has_dropout:
            return None
        shape = (2, self._first.shape[1], self.problem.width)
        # Seeded by network and step: a network draws the same in any company and after a restart.
        drawn = torch.stack(
            [
                torch.rand(
                    shape,
                    generator=self._generator.manual_seed(step_seed(setting.seed, step)),
                    device=self.E.device,
                )
                for setting in self.settings
            ]
        )
        share = self._rates[:, None, None]
        return [(drawn[:, layer] >= share).to(self.E.dtype) / (1 - share) for layer in range(2)]

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        places = rows.tolist()
        self.E, self.E_gradient = self.E[rows], self.E_gradient[rows]
        self.decoder.select(rows)
        self.settings = [self.settings[i] for i in places]
        self._batches = [self._batches[i] for i in places]
        self._sizes = [self._sizes[i] for i in places]
        self._epochs.select(places)
        for name in _STACKED:
            setattr(self, name, getattr(self, name)[rows])
        self._settle()

    def _settle(self) -> None:
        # All pairs, those of others with weight 0: as many rows in any company.
        self._trained_rows = self._first.shape[1]
        self._has_dropout = any(setting.dropout > 0 for setting in self.settings)
        self._has_batches = any(
            0 < size < count for size, count in zip(self._batches, self._sizes, strict=True)
        )
        self._output = None


def _normalised(values: Float[Tensor, "networks n dim"]) -> Float[Tensor, "networks n dim"]:
    """Return values of zero mean and unit deviation (ddof 1) per dimension, 0 where constant."""
    centred = values - values.mean(dim=1, keepdim=True)
    spread = centred.std(dim=1, keepdim=True)
    return torch.where(spread > 0, centred / spread, 0)
