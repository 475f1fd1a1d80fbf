"""Stacks of networks that learn multitask sparse parity: quanta by construction.

Source: arXiv:2303.13506, section 3. An input is m one-hot control bits and n random bits; control
bit i selects the parity of the k random bits in subset i. Subsets are distinct and may overlap.
Subtask i has frequency p_i proportional to i^-(alpha + 1) (published code calls alpha + 1 "alpha").
One hidden ReLU layer, two outputs, cross-entropy, AdamW 1e-3 without decay; fresh data every step,
or a fixed sample that is reshuffled every epoch.

Losses are in bits. Each subtask has its own test points, and the test loss is their mean with
weights p_i. The published code divides by the requested number of points instead of the number that
it draws, so that a perfect network scores 0.9985.
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
from compute.ensembles.trainer import Networks, stack_params
from compute.parity_problem import Problem, Setting

MEASURES = ("loss", "task_loss", "train_loss")
# Step numbers beyond any budget that seed the fixed samples and the test points.
_SAMPLE_STEP, _TEST_STEP = 1 << 40, 1 << 41

Samples = tuple[Tensor, Tensor, Tensor]
"""Subtasks, random bits and parities of samples."""


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
        """Initialise every network from its seed.

        Args:
            problem: problem of all networks.
            width: width of the hidden layer.
            settings: one per network.
            test_points: number of test points per subtask.
            device: device to train on.
            dtype: dtype of parameters and activations.

        Raises:
            ValueError: no network, or batches of different sizes.
        """
        if len({setting.batch_size for setting in settings}) != 1:
            raise ValueError("batch sizes differ; train one stack per batch size")
        shape = Shape((problem.tasks + problem.bits, width, 2), "relu")
        initial = [
            init_layers(shape, torch.Generator().manual_seed(setting.seed)) for setting in settings
        ]
        params = stack_params(initial, device, dtype)
        self.problem, self.settings = problem, list(settings)
        self.mlp, self._device, self._dtype = StackedMLP(shape, params), device, dtype
        self._test_mlp = StackedMLP(shape, params)
        self._p = torch.as_tensor(problem.frequencies())
        self._subsets = torch.as_tensor(problem.subsets()).to(device)
        self._generator = torch.Generator(device)
        self._batch_size = settings[0].batch_size
        self._x = params[0].new_empty(len(settings), self._batch_size, shape.widths[0])
        self._y = torch.empty(len(settings), self._batch_size, 1, dtype=torch.long, device=device)
        # Float64: float32 would round the frequencies of the rarest subtasks.
        self._edges = self._p.cumsum(0)[:-1].to(device)
        self._samples = [self._fixed_sample(setting) for setting in settings]
        self._sampler = EpochSampler([setting.seed for setting in settings])
        self._n_test = test_points
        self._test_x, self._test_y = self._test_set()
        self._log_p: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """W and b of both layers."""
        return self.mlp.params

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of `params`."""
        return self.mlp.gradients

    def optimizer(self) -> StackedAdamW:
        """Return an optimizer with each network's own rates."""
        return StackedAdamW(self.params, [Rates.from_settings(self.settings)] * len(self.params))

    def _draw(self, seed: int, count: int) -> Samples:
        generator = self._generator.manual_seed(seed)
        uniform = torch.rand(count, generator=generator, device=self._device, dtype=torch.float64)
        tasks = torch.bucketize(uniform, self._edges, right=True)
        shape = (count, self.problem.bits)
        bits = torch.randint(2, shape, generator=generator, device=self._device, dtype=torch.uint8)
        return tasks, bits, self._parity(tasks, bits)

    def _parity(self, tasks: Tensor, bits: Tensor) -> Tensor:
        return bits.gather(1, self._subsets[tasks]).sum(dim=1).remainder(2).long()

    def _fixed_sample(self, setting: Setting) -> Samples | None:
        if not setting.samples:
            return None
        return self._draw(step_seed(setting.seed, _SAMPLE_STEP), setting.samples)

    def _write_batch(self, row: int, tasks: Tensor, bits: Tensor, parity: Tensor) -> None:
        m = self.problem.tasks
        x = self._x[row]
        x[:, :m] = 0
        x.scatter_(1, tasks[:, None], 1)
        x[:, m:] = bits
        self._y[row, :, 0] = parity

    def _test_set(self) -> tuple[Tensor, Tensor]:
        """Return inputs and answers of all subtasks' test points, shared by all networks."""
        m, count = self.problem.tasks, self._n_test
        generator = torch.Generator().manual_seed(step_seed(self.problem.seed, _TEST_STEP))
        shape = (m * count, self.problem.bits)
        bits = torch.randint(2, shape, generator=generator, dtype=torch.uint8).to(self._device)
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
                batch = self._draw(step_seed(setting.seed, step), self._batch_size)
            else:
                rows = self._sampler.batch(row, step, setting.samples, self._batch_size)
                tasks, bits, parity = sample
                rows = rows.to(self._device)
                batch = tasks[rows], bits[rows], parity[rows]
            self._write_batch(row, *batch)
        logits = self.mlp.forward(self._x)
        self._log_p = logits.log_softmax(dim=2)
        grad = self._log_p.exp()
        grad.scatter_add_(2, self._y, -torch.ones_like(grad[:, :, :1]))
        self.mlp.weights_backward(grad.div_(self._batch_size))

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures in bits: task_loss [networks, tasks], loss (weighted), train_loss."""
        measures: dict[str, Tensor] = {}
        if "train_loss" in names:
            assert self._log_p is not None
            log_p = self._log_p.gather(2, self._y)
            measures["train_loss"] = -log_p.mean(dim=(1, 2)) / math.log(2)
        if "task_loss" in names or "loss" in names:
            measures["task_loss"] = self._task_losses()
            p = self._p.to(self._device, self._dtype)[None, :, None].expand(
                len(self.settings), -1, 1
            )
            # bmm: the rounding of one large product depends on the number of networks.
            measures["loss"] = torch.bmm(measures["task_loss"][:, None], p)[:, 0, 0]
        return {name: measures[name] for name in names}

    def _task_losses(self) -> Tensor:
        count = len(self.params[0])
        logits = self._test_mlp.forward(self._test_x.expand(count, -1, -1))
        answers = self._test_y[None, :, None].expand(count, -1, -1)
        losses = -logits.log_softmax(dim=2).gather(2, answers)[:, :, 0] / math.log(2)
        return losses.reshape(count, self.problem.tasks, self._n_test).mean(dim=2)

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        indices = rows.tolist()
        self.mlp.select(rows)
        self._test_mlp = StackedMLP(self.mlp.shape, self.mlp.params)
        self.settings = [self.settings[i] for i in indices]
        self._samples = [self._samples[i] for i in indices]
        self._sampler.select(indices)
        self._x, self._y = self._x[rows], self._y[rows]
        self._log_p = None
