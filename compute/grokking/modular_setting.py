"""Shape, training set and settings of a network of compute.grokking.modular_addition."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from compute.ensembles.settings import check_numbers


@dataclass(frozen=True)
class Architecture:
    """Shape of the transformer; every head has d_model / heads dimensions."""

    p: int = 113
    d_model: int = 128
    heads: int = 4
    d_mlp: int = 512

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid shape."""
        if self.p < 3 or min(self.d_model, self.heads, self.d_mlp) < 1:
            raise ValueError(f"{self}: want p >= 3 and all others >= 1")
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of {self.heads} heads")

    def flop_per_row(self) -> int:
        """Return the FLOPs of the matrix products, forward and backward, for one pair."""
        d, m = self.d_model, self.d_mlp
        return 3 * 2 * (d * d + 2 * d * m + d * self.p)


@dataclass(frozen=True)
class Setting:
    """Training settings of one network.

    Attributes:
        train_fraction: share of all p^2 pairs.
        alpha: factor of all initial parameters (arXiv:2210.01117).
        on_sphere: rescale to the initial norm after every step.
        seed: seed of the initial parameters.
        split_seed: seed of the training set.
    """

    weight_decay: float = 1.0
    learning_rate: float = 1e-3
    train_fraction: float = 0.3
    alpha: float = 1.0
    on_sphere: bool = False
    seed: int = 0
    split_seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        check_numbers(self)
        if not 0 < self.train_fraction < 1:
            raise ValueError(f"train_fraction is {self.train_fraction}, want within (0, 1)")
        if not self.alpha > 0:
            raise ValueError("alpha is 0, want > 0: a network of zeros does not learn")


def pair_order(p: int, split_seed: int) -> Int[np.ndarray, " pairs"]:
    """Return all pairs a p + b in random order; a training set is the first of them."""
    return np.random.default_rng(split_seed).permutation(p * p)


def n_train(p: int, fraction: float) -> int:
    """Return the number of training pairs, between 1 and all but one."""
    return min(max(1, int(fraction * p * p)), p * p - 1)
