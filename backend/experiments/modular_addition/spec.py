"""Transformers that add modulo p: they memorise, form a clock and clean up.

Source: arXiv:2301.05217. Cells are the product of weight decays, initial scales and seeds; all
other parameters are common to them.
"""

from collections.abc import Sequence
from itertools import product
from typing import Annotated

from pydantic import Field

from backend.experiments.kind import ExperimentKind, ExperimentParameters, Place
from backend.experiments.modular_addition.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER
from compute.grokking.modular_setting import Architecture, Setting, n_train

# All parameters are held in memory at about sixty evaluations of a training: one gigabyte.
MAX_PARAMETERS = 4_000_000
MAX_CELLS = 64
# Limits the maps over all pairs to a few megabytes a cell.
MAX_P = 149
EVAL_EVERY = 10
MAX_VALUES = 16
_LENGTH = Field(min_length=1, max_length=MAX_VALUES)
Amounts = Annotated[list[Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]], _LENGTH]
Scales = Annotated[list[Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]], _LENGTH]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=MAX_INTEGER)]], _LENGTH]


class ModularAdditionParameters(ExperimentParameters):
    """Transformers of one layer that learn a + b modulo p."""

    p: int = Field(113, ge=3, le=MAX_P, title="p", description="Numbers to add; odd")
    train_fraction: float = Field(
        0.3, gt=0, lt=1, title="Training fraction", description="Fraction of all p² pairs"
    )
    weight_decay: Amounts = Field(
        [1.0], title="Weight decays", description="One network for each", examples=[[1.0, 0.0]]
    )
    alpha: Scales = Field(
        [1.0], title="Initial scales α", description="Factor of all initial parameters"
    )
    seed: Seeds = Field([0], title="Init seeds")
    on_sphere: bool = Field(
        False, title="On the sphere", description="Keep the initial norm after every step"
    )
    steps: int = Field(40_000, ge=20, le=1_000_000, title="Steps", description="Full batch")
    learning_rate: float = Field(1e-3, gt=0, le=10, allow_inf_nan=False, title="Learning rate")
    d_model: int = Field(128, ge=2, le=1024, title="d_model")
    heads: int = Field(4, ge=1, le=64, title="Heads")
    d_mlp: int = Field(512, ge=1, le=4096, title="Neurons")
    split_seed: int = Field(0, ge=0, le=MAX_INTEGER, title="Split seed")

    def shape(self) -> Architecture:
        """Return the shape of the transformers; raises ValueError for an invalid one."""
        if self.p % 2 == 0:
            raise ValueError(f"p is {self.p}, want an odd number: even ones have no last sine")
        return Architecture(self.p, self.d_model, self.heads, self.d_mlp)

    def n_weights(self) -> int:
        """Return the number of parameters of one network."""
        p, d, m = self.p, self.d_model, self.d_mlp
        return (p + 1) * d + 3 * d + 4 * d * d + 2 * d * m + m + d + d * p

    def settings(self) -> list[Setting]:
        """Return the setting of every cell, in order.

        Raises:
            ValueError: a repeated value, too many cells, too large a network, or no training pair.
        """
        self.shape()
        if self.n_weights() > MAX_PARAMETERS:
            raise ValueError(
                f"d_model {self.d_model} with d_mlp {self.d_mlp} has {self.n_weights():,} "
                f"parameters, held at every evaluation; at most {MAX_PARAMETERS:,}"
            )
        for name in ("seed", "alpha", "weight_decay"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a repeated value: cells of equal settings are equal")
        points = list(product(self.seed, self.alpha, self.weight_decay))
        if len(points) > MAX_CELLS:
            raise ValueError(
                f"weight_decay, alpha and seed make {len(points)} cells, at most {MAX_CELLS}"
            )
        if self.train_fraction * self.p**2 < 1:
            raise ValueError(f"train_fraction {self.train_fraction} of {self.p**2} is no pair")
        return [
            Setting(
                weight_decay=decay,
                learning_rate=self.learning_rate,
                train_fraction=self.train_fraction,
                alpha=alpha,
                on_sphere=self.on_sphere,
                seed=seed,
                split_seed=self.split_seed,
            )
            for seed, alpha, decay in points
        ]

    def places(self) -> list[Place]:
        """Return weight decay, initial scale and seed of every cell."""
        names = ("weight_decay", "alpha", "seed")
        return [{name: getattr(s, name) for name in names} for s in self.settings()]

    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""
        n_pairs, n_training = self.p**2, n_train(self.p, self.train_fraction)
        # Forward and backward on the training set; forward on the test set at every evaluation.
        rows = n_training + (n_pairs - n_training) / (3 * EVAL_EVERY)
        per_step = self.shape().flop_per_row() * rows
        return float(per_step * self.steps * len(self.settings()))

    def label(self) -> str:
        """Return the parameters that runs usually differ in."""

        def joined(values: Sequence[float]) -> str:
            return " and ".join(f"{value:g}" for value in values)

        parts = [f"p {self.p}", f"{100 * self.train_fraction:g} % of pairs"]
        parts.append(f"weight decay {joined(self.weight_decay)}")
        if self.on_sphere:
            parts.append("on the sphere")
        if self.alpha != [1.0]:
            parts.append(f"α {joined(self.alpha)}")
        parts += [f"d_model {self.d_model}", f"{self.steps:,} steps", f"seed {joined(self.seed)}"]
        return ", ".join(parts)


MODULAR_ADDITION = ExperimentKind(
    name="modular_addition",
    title="Modular addition",
    summary="Transformers that add modulo p: how they memorise, form a clock and clean up.",
    page="/modular-addition",
    schema=ModularAdditionParameters,
    params=ModularAdditionParameters,
    presets=PRESETS,
    cells_per_unit=2,
)
