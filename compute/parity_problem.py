"""Multitask sparse parity (compute.sparse_parity): the problem, and convergence of its subtasks.

Source: arXiv:2303.13506, section 3.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from compute.ensembles.settings import check_numbers
from compute.quanta_theory import zipf_frequencies

CONVERGED_BITS = 0.1


@dataclass(frozen=True)
class Problem:
    """A multitask sparse parity problem.

    Attributes:
        tasks: m, number of subtasks.
        bits: n, number of random bits.
        subset: k, number of bits of each parity.
        alpha: p_i is proportional to i^-(alpha + 1).
        seed: seed of the subsets.
    """

    tasks: int = 30
    bits: int = 24
    subset: int = 3
    alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid problem."""
        if not 1 <= self.subset <= self.bits or self.tasks < 1:
            raise ValueError(f"{self}: want tasks >= 1 and 1 <= subset <= bits")
        if self.tasks > math.comb(self.bits, self.subset):
            raise ValueError(
                f"tasks = {self.tasks}: {self.bits} bits have only "
                f"{math.comb(self.bits, self.subset)} subsets of {self.subset}"
            )

    def frequencies(self) -> Float[np.ndarray, " tasks"]:
        """Return p_i in descending order."""
        return zipf_frequencies(self.tasks, self.alpha)

    def subsets(self) -> Int[np.ndarray, "tasks subset"]:
        """Return the bits of each subtask's parity; subsets are distinct."""
        rng = np.random.default_rng(self.seed)
        subsets: dict[tuple[int, ...], None] = {}
        while len(subsets) < self.tasks:
            subset = rng.choice(self.bits, self.subset, replace=False)
            subsets[tuple(sorted(subset.tolist()))] = None
        return np.array(list(subsets), np.int64)


@dataclass(frozen=True)
class Setting:
    """Training settings of one network.

    Attributes:
        batch_size: samples per step.
        samples: D, size of the fixed sample; 0: fresh data every step.
        seed: seed of the initial parameters and the data.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 2_000
    samples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        check_numbers(self)
        if self.batch_size < 1:
            raise ValueError("batch_size is 0, want at least 1")


def convergence_steps(
    task_loss: Float[np.ndarray, "evals tasks"], steps: Int[np.ndarray, " evals"]
) -> Int[np.ndarray, " tasks"]:
    """Return the first evaluated step at which each subtask's test loss is < 0.1 bits; else -1.

    Args:
        task_loss: test losses, bits.
        steps: evaluated steps.
    """
    is_below = task_loss < CONVERGED_BITS
    return np.where(is_below.any(axis=0), steps[is_below.argmax(axis=0)], -1)


@dataclass(frozen=True)
class Convergence:
    """Relation of convergence steps T to frequencies p.

    Attributes:
        n_converged: number of converged subtasks.
        slope: slope of log T against log p; None for fewer than three.
        rank_correlation: Spearman's rho of T and the rank of p; None for fewer than three.
    """

    n_converged: int
    slope: float | None
    rank_correlation: float | None


def convergence(
    frequencies: Float[np.ndarray, " tasks"], steps: Int[np.ndarray, " tasks"]
) -> Convergence:
    """Return the slope of convergence steps over frequency (theory: -1).

    Args:
        frequencies: p_i.
        steps: convergence steps, -1 for none; 0 counts as 1.
    """
    from scipy.stats import spearmanr

    tasks = np.flatnonzero(steps >= 0)
    if len(tasks) < 3:
        return Convergence(len(tasks), None, None)
    times = np.maximum(steps[tasks], 1).astype(np.float64)
    slope = float(np.polyfit(np.log(frequencies[tasks]), np.log(times), 1)[0])
    return Convergence(len(tasks), slope, float(spearmanr(times, tasks).statistic))
