"""Stacks of one-layer transformers that add modulo p.

Source: arXiv:2301.05217, section 3. Tokens a, b, "=", the answer at the last position; d_model 128,
4 heads of 32, 512 ReLU neurons, no layer norm, biases in the MLP only; initial weights are normal
with deviation 1 / sqrt(d_model), the unembedding 1 / sqrt(p + 1); full-batch AdamW 1e-3, betas 0.9
and 0.98, weight decay 1, ten steps of linear warm-up. Published: p = 113, 30 % of all pairs, 40,000
steps or more. The logits are those of the p numbers; the log-softmax is in float64, since float32
causes loss spikes late in training.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.adamw import Betas, Rates, StackedAdamW
from compute.ensembles.trainer import Networks, rescale_to_sphere, squared_norm, stack_params
from compute.grokking.modular_setting import Architecture, Setting, n_train, pair_order
from compute.grokking.transformer import Pairs, StackedTransformer

MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "squared_weights")
PUBLISHED_BETAS = Betas(beta1=0.9, beta2=0.98)
WARMUP_STEPS = 10
PARAM_NAMES = ("E", "position", "Q", "K", "V", "O", "W_in", "b_in", "W_out", "b_out", "U")


def param_shapes(shape: Architecture) -> list[tuple[int, int]]:
    """Return the shapes of one network's parameters, in the order of `PARAM_NAMES`."""
    d, m, p = shape.d_model, shape.d_mlp, shape.p
    return [(p + 1, d), (3, d), *[(d, d)] * 4, (d, m), (1, m), (m, d), (1, d), (d, p)]


def unflatten_params(
    shape: Architecture, parameters: Float[Tensor, " all"]
) -> list[Float[Tensor, "..."]]:
    """Return the parameters of a stack of one network from its flat "parameters"."""
    shapes = param_shapes(shape)
    parts = torch.split(parameters, [rows * columns for rows, columns in shapes])
    return [part.view(1, *size) for part, size in zip(parts, shapes, strict=True)]


def init_params(shape: Architecture, setting: Setting) -> list[Float[Tensor, "..."]]:
    """Return one network's initial parameters in the order of `PARAM_NAMES`, in float64."""
    generator = torch.Generator().manual_seed(setting.seed)
    d, m, vocabulary = shape.d_model, shape.d_mlp, shape.p + 1

    def normal(rows: int, columns: int, width: int) -> Tensor:
        values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
        return values * (setting.alpha / math.sqrt(width))

    def zeros(columns: int) -> Tensor:
        return torch.zeros(1, columns, dtype=torch.float64)

    embeddings = [normal(vocabulary, d, d), normal(3, d, d)]
    attention = [normal(d, d, d) for _ in range(4)]
    mlp = [normal(d, m, d), zeros(m), normal(m, d, d), zeros(d)]
    return [*embeddings, *attention, *mlp, normal(d, shape.p, vocabulary)]


class ModularAdditionNetworks(Networks):
    """A stack of transformers of one shape, on training sets of one size."""

    def __init__(
        self,
        shape: Architecture,
        settings: Sequence[Setting],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Initialise every network from its seed.

        Raises:
            ValueError: no network, or training sets of different sizes.
        """
        sizes = {n_train(shape.p, setting.train_fraction) for setting in settings}
        if len(sizes) != 1:
            raise ValueError(
                f"training sets of {sorted(sizes)} pairs differ in size; train one stack per size"
            )
        self.shape, self.settings = shape, list(settings)
        initial = [init_params(shape, setting) for setting in settings]
        self._params = stack_params(initial, device, dtype)
        self._gradients = [torch.empty_like(param) for param in self._params]
        size = sizes.pop()
        order = np.stack([pair_order(shape.p, setting.split_seed) for setting in settings])
        self._order = torch.as_tensor(order).to(device)
        self._train = Pairs(self._order[:, :size], shape.p)
        self._test = Pairs(self._order[:, size:], shape.p)
        self._on_sphere = torch.tensor([s.on_sphere for s in settings], device=device)
        self._norms = squared_norm(self._params).sqrt()
        self._model = StackedTransformer(shape)
        self._test_model = StackedTransformer(shape)
        self._logits: Tensor | None = None

    @property
    def params(self) -> list[Tensor]:
        """Parameters in the order of `PARAM_NAMES`."""
        return self._params

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of `params`."""
        return self._gradients

    def optimizer(self) -> StackedAdamW:
        """Return an optimizer with each network's own rates."""
        return StackedAdamW(
            self.params, [Rates.from_settings(self.settings)] * len(self.params), PUBLISHED_BETAS
        )

    def prepare(self, step: int) -> None:
        """Compute the gradients of the mean cross-entropy over the training set."""
        logits = self._logits = self._model.forward(self._params, self._train)
        log_p = logits.double().log_softmax(dim=2)
        grad = log_p.exp()
        grad.scatter_add_(2, self._train.answers, -torch.ones_like(grad[:, :, :1]))
        self._model.backward((grad / logits.shape[1]).to(logits.dtype), self._gradients)

    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name: losses (nats), accuracies, squared_weights, parameters.

        "parameters" are all parameters of a network, flat, in the order of `PARAM_NAMES`.
        """
        measures: dict[str, Tensor] = {}
        if any(name.startswith("train") for name in names):
            assert self._logits is not None
            self._add_measures(measures, "train", self._logits, self._train)
        if any(name.startswith("test") for name in names):
            logits = self._test_model.forward(self._params, self._test)
            self._add_measures(measures, "test", logits, self._test)
        if "squared_weights" in names:
            measures["squared_weights"] = squared_norm(self._params)
        if "parameters" in names:
            measures["parameters"] = torch.cat([param.flatten(1) for param in self._params], dim=1)
        return {name: measures[name] for name in names}

    @staticmethod
    def _add_measures(measures: dict[str, Tensor], part: str, logits: Tensor, pairs: Pairs) -> None:
        log_p = logits.double().log_softmax(dim=2)
        measures[f"{part}_loss"] = (
            -log_p.gather(2, pairs.answers)[:, :, 0].mean(dim=1).to(logits.dtype)
        )
        is_correct = logits.argmax(dim=2, keepdim=True) == pairs.answers
        count = is_correct.sum(dim=(1, 2)).to(logits.dtype)
        measures[f"{part}_accuracy"] = count / is_correct.shape[1]

    def after_step(self) -> None:
        """Rescale networks on the sphere to their initial norm."""
        rescale_to_sphere(self._params, self._norms, self._on_sphere)

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        size = self._train.a.shape[1]
        self._params = [param[rows] for param in self._params]
        self._gradients = [torch.empty_like(param) for param in self._params]
        self.settings = [self.settings[i] for i in rows.tolist()]
        self._order, self._norms = self._order[rows], self._norms[rows]
        self._on_sphere = self._on_sphere[rows]
        self._train = Pairs(self._order[:, :size], self.shape.p)
        self._test = Pairs(self._order[:, size:], self.shape.p)
        self._logits = None
