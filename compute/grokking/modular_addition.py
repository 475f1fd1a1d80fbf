"""A one-layer transformer that adds modulo p, many of them at once.

Source: arXiv:2301.05217, section 3. Tokens a, b, "=", the answer at the last position; d_model 128,
4 heads of 32, 512 ReLU neurons, no layer norm, biases in the MLP only; weights begin normal with
deviation 1 / sqrt(d_model), the unembedding 1 / sqrt(p + 1); full-batch AdamW 1e-3, betas 0.9 and
0.98, weight decay 1, ten steps of linear warm-up. Published: p = 113, 30 % of all pairs, 40,000
steps or more. Logits are those of the p numbers; log-softmax in float64, whose absence shows as
spikes late in training.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.adamw import Betas, Rates, StackedAdamW
from compute.ensembles.trainer import Networks, squared_norm
from compute.grokking.modular_setting import Architecture, Setting, n_train, pair_order
from compute.grokking.transformer import Pairs, StackedTransformer

MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "squared_weights")
PUBLISHED_BETAS = Betas(beta1=0.9, beta2=0.98)
WARMUP_STEPS = 10
PARAM_NAMES = ("E", "position", "Q", "K", "V", "O", "W_in", "b_in", "W_out", "b_out", "U")


def param_shapes(shape: Architecture) -> list[tuple[int, int]]:
    """Return rows and columns of one network's parameters, in the order of `NAMES`."""
    d, m, p = shape.d_model, shape.d_mlp, shape.p
    return [(p + 1, d), (3, d), *[(d, d)] * 4, (d, m), (1, m), (m, d), (1, d), (d, p)]


def unflatten_params(
    shape: Architecture, parameters: Float[Tensor, " all"]
) -> list[Float[Tensor, "..."]]:
    """Return the leaves of a stack of one network from its flat "parameters"."""
    shapes = param_shapes(shape)
    parts = torch.split(parameters, [rows * columns for rows, columns in shapes])
    return [part.view(1, *one) for part, one in zip(parts, shapes, strict=True)]


def init_params(shape: Architecture, setting: Setting) -> list[Float[Tensor, "..."]]:
    """Return one network's parameters in the order of `NAMES`, in float64."""
    generator = torch.Generator().manual_seed(setting.seed)
    d, m, vocabulary = shape.d_model, shape.d_mlp, shape.p + 1

    def normal(rows: int, columns: int, width: int) -> Tensor:
        drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        return drawn * (setting.alpha / math.sqrt(width))

    parts = [normal(vocabulary, d, d), normal(3, d, d), *(normal(d, d, d) for _ in range(4))]
    zeros = torch.zeros(1, m, dtype=torch.float64), torch.zeros(1, d, dtype=torch.float64)
    return [
        *parts,
        normal(d, m, d),
        zeros[0],
        normal(m, d, d),
        zeros[1],
        normal(d, shape.p, vocabulary),
    ]


class ModularAdditionNetworks(Networks):
    """A stack of transformers of one shape with training sets of one size."""

    def __init__(
        self,
        shape: Architecture,
        settings: Sequence[Setting],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin every network from its own seed.

        Raises:
            ValueError: no network, or training sets of different sizes.
        """
        sizes = {n_train(shape.p, setting.train_fraction) for setting in settings}
        if len(sizes) != 1:
            raise ValueError(f"training sets of {sorted(sizes)} pairs: stack each size alone")
        self.shape, self.settings = shape, list(settings)
        begun = [init_params(shape, setting) for setting in settings]
        self._leaves = [torch.stack(parts).to(device, dtype) for parts in zip(*begun, strict=True)]
        self._gradients = [torch.empty_like(param) for param in self._leaves]
        size = sizes.pop()
        order = np.stack([pair_order(shape.p, setting.split_seed) for setting in settings])
        self._order = torch.as_tensor(order).to(device)
        self._train = Pairs(self._order[:, :size], shape.p)
        self._test = Pairs(self._order[:, size:], shape.p)
        self._sphere = torch.tensor([s.on_sphere for s in settings], device=device)
        self._norms = squared_norm(self._leaves).sqrt()
        self._model = StackedTransformer(shape)
        self._test_model = StackedTransformer(shape)
        self._logits: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """Parameters in the order of `NAMES`."""
        return self._leaves

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of the leaves."""
        return self._gradients

    def optimizer(self) -> StackedAdamW:
        """Return the optimizer of the stack, with each network's own rates."""
        return StackedAdamW(
            self.params, [Rates.from_settings(self.settings)] * len(self.params), PUBLISHED_BETAS
        )

    def prepare(self, step: int) -> None:
        """Compute the gradients of the mean cross-entropy over the training set."""
        logits = self._logits = self._model.forward(self._leaves, self._train)
        log_p = logits.double().log_softmax(dim=2)
        slope = log_p.exp()
        slope.scatter_add_(2, self._train.answers, -torch.ones_like(slope[:, :, :1]))
        self._model.backward((slope / logits.shape[1]).to(logits.dtype), self._gradients)

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name: losses (nats), accuracies, squared_weights, parameters.

        "parameters" are all of a network, in the order of `NAMES`, flat.
        """
        made: dict[str, Tensor] = {}
        if any(name.startswith("train") for name in names):
            assert self._logits is not None
            self._measure(self._logits, self._train, "train", made)
        if any(name.startswith("test") for name in names):
            logits = self._test_model.forward(self._leaves, self._test)
            self._measure(logits, self._test, "test", made)
        if "squared_weights" in names:
            made["squared_weights"] = squared_norm(self._leaves)
        if "parameters" in names:
            made["parameters"] = torch.cat([param.flatten(1) for param in self._leaves], dim=1)
        return {name: made[name] for name in names}

    @staticmethod
    def _measure(logits: Tensor, pairs: Pairs, which: str, made: dict[str, Tensor]) -> None:
        log_p = logits.double().log_softmax(dim=2)
        made[f"{which}_loss"] = (
            -log_p.gather(2, pairs.answers)[:, :, 0].mean(dim=1).to(logits.dtype)
        )
        right = logits.argmax(dim=2, keepdim=True) == pairs.answers
        made[f"{which}_accuracy"] = right.sum(dim=(1, 2)).to(logits.dtype) / right.shape[1]

    def after_step(self) -> None:
        """Bring what is on the sphere back to it."""
        if self._sphere.any():
            factor = torch.where(self._sphere, self._norms / squared_norm(self._leaves).sqrt(), 1.0)
            for param in self._leaves:
                param.mul_(factor[:, None, None])

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        size = self._train.a.shape[1]
        self._leaves = [param[rows] for param in self._leaves]
        self._gradients = [torch.empty_like(param) for param in self._leaves]
        self.settings = [self.settings[i] for i in rows.tolist()]
        self._order, self._norms = self._order[rows], self._norms[rows]
        self._sphere = self._sphere[rows]
        self._train = Pairs(self._order[:, :size], self.shape.p)
        self._test = Pairs(self._order[:, size:], self.shape.p)
        self._logits = None
