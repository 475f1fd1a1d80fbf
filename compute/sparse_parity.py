"""Multitask sparse parity: quanta by construction, many networks at once.

Source: arXiv:2303.13506, section 3. An input is m control bits, one of them set, and n random bits;
control bit i asks for the parity of subset i of k of them. Subsets are distinct and may overlap.
Subtask i is asked with frequency p_i proportional to i^-(alpha + 1) (published code calls
alpha + 1 "alpha"). One hidden ReLU layer, two outputs, cross-entropy, AdamW 1e-3 without decay;
fresh data every step, or a fixed sample, reshuffled every epoch.

Losses are in bits. Each subtask has test points of its own, all of which count, and the test loss
is their mean with weights p_i: the published code divides by the points that it asked for, so that
a perfect network scores 0.9985.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.seeds import EpochSampler, step_seed
from compute.ensembles.shapes import Shape
from compute.ensembles.trainer import Networks
from compute.parity_problem import Problem, Setting

MEASURES = ("loss", "task_loss", "train_loss")
# Steps beyond any budget, whose draws are the fixed samples and the test points.
_SAMPLE_STEP, _TEST_STEP = 1 << 40, 1 << 41


class ParityNetworks(Networks):
    """A stack of networks of one width on one problem, each on its own data."""

    def __init__(
        self,
        problem: Problem,
        width: int,
        settings: Sequence[Setting],
        test_points: int = 500,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin every network from its own seed.

        Args:
            problem: the same for all.
            width: of the hidden layer.
            settings: one a network.
            test_points: of every subtask.
            device: where to train.
            dtype: of parameters and activations.

        Raises:
            ValueError: no network, or batches of different sizes.
        """
        if len({setting.batch_size for setting in settings}) != 1:
            raise ValueError("batches of one stack must have one size; stack each size alone")
        shape = Shape((problem.tasks + problem.bits, width, 2), "relu")
        begun = [
            init_layers(shape, torch.Generator().manual_seed(setting.seed)) for setting in settings
        ]
        params = [torch.stack(parts).to(device, dtype) for parts in zip(*begun, strict=True)]
        self.problem, self.settings = problem, list(settings)
        self.mlp, self._device, self._dtype = StackedMLP(shape, params), device, dtype
        self._tester = StackedMLP(shape, params)
        self._p = torch.as_tensor(problem.frequencies())
        self._subsets = torch.as_tensor(problem.subsets()).to(device)
        self._generator = torch.Generator(device)
        self._batch = settings[0].batch_size
        self._x = params[0].new_empty(len(settings), self._batch, shape.widths[0])
        self._y = torch.empty(len(settings), self._batch, 1, dtype=torch.long, device=device)
        # Float64: the rarest subtasks have frequencies that float32 would round.
        self._edges = self._p.cumsum(0)[:-1].to(device)
        self._samples = [self._sample(setting) for setting in settings]
        self._epochs = EpochSampler([setting.seed for setting in settings])
        self._n_test = test_points
        self._test_x, self._test_y = self._test()
        self._log_p: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """W and b of both layers."""
        return self.mlp.params

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the leaves."""
        return self.mlp.gradients

    def optimizer(self) -> StackedAdamW:
        """Return the optimizer of the stack, with each network's own rates."""
        return StackedAdamW(self.params, [Rates.from_settings(self.settings)] * len(self.params))

    def _drawn(self, seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return subtasks, bits and parities of `count` samples."""
        draw = self._generator.manual_seed(seed)
        where = torch.rand(count, generator=draw, device=self._device, dtype=torch.float64)
        tasks = torch.bucketize(where, self._edges, right=True)
        shape = (count, self.problem.bits)
        bits = torch.randint(2, shape, generator=draw, device=self._device, dtype=torch.uint8)
        return tasks, bits, self._parity(tasks, bits)

    def _parity(self, tasks: Tensor, bits: Tensor) -> Tensor:
        return bits.gather(1, self._subsets[tasks]).sum(dim=1).remainder(2).long()

    def _sample(self, setting: Setting) -> tuple[Tensor, Tensor, Tensor] | None:
        if not setting.samples:
            return None
        return self._drawn(step_seed(setting.seed, _SAMPLE_STEP), setting.samples)

    def _put(self, row: int, tasks: Tensor, bits: Tensor, parity: Tensor) -> None:
        m = self.problem.tasks
        x = self._x[row]
        x[:, :m] = 0
        x.scatter_(1, tasks[:, None], 1)
        x[:, m:] = bits
        self._y[row, :, 0] = parity

    def _test(self) -> tuple[Tensor, Tensor]:
        """Return the test points of all subtasks, the same for every network."""
        m, count = self.problem.tasks, self._n_test
        draw = torch.Generator().manual_seed(step_seed(self.problem.seed, _TEST_STEP))
        bits = torch.randint(2, (m * count, self.problem.bits), generator=draw, dtype=torch.uint8)
        bits = bits.to(self._device)
        tasks = torch.arange(m, device=self._device).repeat_interleave(count)
        x = torch.zeros(1, m * count, m + self.problem.bits, dtype=self._dtype, device=self._device)
        x[0].scatter_(1, tasks[:, None], 1)
        x[0, :, m:] = bits
        return x, self._parity(tasks, bits)

    def prepare(self, step: int) -> None:
        """Draw each network's batch and compute the gradients of its mean cross-entropy."""
        for row, setting in enumerate(self.settings):
            sample = self._samples[row]
            if sample is None:
                self._put(row, *self._drawn(step_seed(setting.seed, step), self._batch))
            else:
                chosen = self._epochs.batch(row, step, setting.samples, self._batch)
                chosen = chosen.to(self._device)
                self._put(row, *(part[chosen] for part in sample))
        logits = self.mlp.forward(self._x)
        self._log_p = logits.log_softmax(dim=2)
        slope = self._log_p.exp()
        slope.scatter_add_(2, self._y, -torch.ones_like(slope[:, :, :1]))
        self.mlp.weights_backward(slope.div_(self._batch))

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures in bits: task_loss [networks, tasks], loss (weighted), train_loss."""
        made: dict[str, Tensor] = {}
        if "train_loss" in names:
            assert self._log_p is not None
            chosen = self._log_p.gather(2, self._y)
            made["train_loss"] = -chosen.mean(dim=(1, 2)) / math.log(2)
        if "task_loss" in names or "loss" in names:
            made["task_loss"] = self._task_losses()
            p = self._p.to(self._device, self._dtype)[None, :, None].expand(
                len(self.settings), -1, 1
            )
            # A product a network: what it gives does not depend on how many there are.
            made["loss"] = torch.bmm(made["task_loss"][:, None], p)[:, 0, 0]
        return {name: made[name] for name in names}

    def _task_losses(self) -> Tensor:
        count = len(self.params[0])
        logits = self._tester.forward(self._test_x.expand(count, -1, -1))
        answers = self._test_y[None, :, None].expand(count, -1, -1)
        losses = -logits.log_softmax(dim=2).gather(2, answers)[:, :, 0] / math.log(2)
        return losses.reshape(count, self.problem.tasks, self._n_test).mean(dim=2)

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        places = rows.tolist()
        self.mlp.select(rows)
        self._tester = StackedMLP(self.mlp.shape, self.mlp.params)
        self.settings = [self.settings[i] for i in places]
        self._samples = [self._samples[i] for i in places]
        self._epochs.select(places)
        self._x, self._y = self._x[rows], self._y[rows]
        self._log_p = None
