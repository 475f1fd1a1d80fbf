"""The toy problem of effective theory: addition of numbers with learned embeddings.

Source: arXiv:2205.10343, sections 3 and 4. A decoder maps E_i + E_j, for an unordered pair i <= j,
to the sum: to the nearest of random target vectors (MSE) or to a class (cross-entropy). In the
other task it maps the product of two 3 x 3 matrices to the product of two permutations of S3.

Published settings: p = 10, E of one dimension, uniform in (-0.5, 0.5); decoder 1-200-200-30, tanh,
initialised as `torch.nn.Linear`; 45 of 55 pairs, drawn after the targets by numpy's legacy
generator with seed 58; full batch; AdamW, learning rates 1e-3 (E) and 1e-4 (decoder).
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from compute.ensembles.settings import check_numbers
from compute.ensembles.shapes import Shape
from compute.grokking.parallelograms import pairs

TaskName = Literal["addition", "s3"]
LossName = Literal["mse", "ce"]
PUBLISHED_SPLIT = 58
TARGET_DIM = 30
S3_INIT_SCALE = 0.1


@dataclass(frozen=True)
class Problem:
    """Problem and decoder of all networks of a stack.

    Attributes:
        task: "addition" of p numbers, or multiplication in "s3".
        p: number of inputs; 6 in S3.
        width: width of both hidden layers.
        loss: "mse" to random targets, of which the nearest is the answer; or "ce".
        dim: dimensions of a number's representation; 9 in S3.
    """

    task: TaskName = "addition"
    p: int = 10
    width: int = 200
    loss: LossName = "mse"
    dim: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid problem."""
        if self.task == "s3" and (self.p, self.dim) != (6, 9):
            raise ValueError(f"S3 has p = 6 and dim = 9, not {self.p} and {self.dim}")
        if self.p < 3 or self.width < 1 or self.dim < 1:
            raise ValueError(f"p {self.p}, width {self.width}, dim {self.dim}: want >= 3, 1, 1")

    def pairs(self) -> Int[np.ndarray, "pairs 2"]:
        """Return the inputs: unordered pairs of numbers or ordered pairs of permutations."""
        if self.task == "addition":
            return pairs(self.p)
        return np.array([(i, j) for i in range(6) for j in range(6)], np.int64)

    def answers(self) -> Int[np.ndarray, " pairs"]:
        """Return the class of every input."""
        inputs = self.pairs()
        table = np.add.outer(np.arange(self.p), np.arange(self.p))
        if self.task == "s3":
            table = s3_table()
        answers: NDArray[np.int64] = table[inputs[:, 0], inputs[:, 1]]
        return answers

    def n_answers(self) -> int:
        """Return the number of classes."""
        return 2 * self.p - 1 if self.task == "addition" else 6

    def shape(self) -> Shape:
        """Return the shape of the decoder."""
        outputs = TARGET_DIM if self.loss == "mse" else self.n_answers()
        return Shape((self.dim, self.width, self.width, outputs), "tanh")


def s3_table() -> Int[np.ndarray, "6 6"]:
    """Return the multiplication table of S3: the index of (first i, then j) as permutations."""
    group = list(permutations(range(3)))
    return np.array([[group.index(tuple(b[k] for k in a)) for b in group] for a in group])


@dataclass(frozen=True)
class Setting:
    """Training settings of one network.

    Attributes:
        train_fraction: share of the pairs to train on, rounded to a number of pairs.
        init_scale: factor of the decoder's initial parameters.
        dropout: dropout rate of the decoder's hidden layers.
        batch_size: training pairs per step; 0 is all.
        seed: seed of the initial parameters, dropout and batches.
        split_seed: seed of the targets and the training set.
    """

    lr_representation: float = 1e-3
    lr_decoder: float = 1e-4
    wd_decoder: float = 0.0
    wd_representation: float = 0.0
    train_fraction: float = 45 / 55
    init_scale: float = 1.0
    dropout: float = 0.0
    batch_size: int = 0
    seed: int = 0
    split_seed: int = PUBLISHED_SPLIT

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        check_numbers(self)
        if not 0 < self.train_fraction <= 1:
            raise ValueError(f"train_fraction is {self.train_fraction}, want in (0, 1]")
        if self.dropout >= 1:
            raise ValueError(f"dropout is {self.dropout}, want under 1")
        if not self.init_scale > 0:
            raise ValueError(f"init_scale is {self.init_scale}, want > 0")


@dataclass(frozen=True)
class Split:
    """Targets and training pairs of one split seed.

    Attributes:
        targets: one vector per class.
        order: all pairs; a training set of size n is the first n.
    """

    targets: Float[np.ndarray, "answers outputs"]
    order: Int[np.ndarray, " pairs"]


def draw_split(problem: Problem, seed: int) -> Split:
    """Draw the targets, then the order of pairs.

    From numpy's legacy generator, for which seed 58 gives the published split.
    """
    rng = np.random.RandomState(seed)
    targets = rng.normal(0, 1, (problem.n_answers(), TARGET_DIM))
    count = len(problem.pairs())
    return Split(targets, rng.choice(count, count, replace=False).astype(np.int64))


def n_train(problem: Problem, setting: Setting) -> int:
    """Return the number of training pairs of a setting."""
    return max(1, round(setting.train_fraction * len(problem.pairs())))
