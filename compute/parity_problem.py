"""Multitask sparse parity (compute.sparse_parity): what is asked, and when it is learned.

Source: arXiv:2303.13506, section 3.
"""

import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from compute.ensembles.settings import check_numbers
from compute.quanta_theory import zipf_frequencies

CONVERGED_BITS = 0.1


@dataclass(frozen=True)
class Problem:
    """What is asked.

    Attributes:
        tasks: m subtasks.
        bits: n random bits.
        subset: k of them are added up.
        alpha: p_i goes as i^-(alpha + 1).
        seed: of the subsets.
    """

    tasks: int = 30
    bits: int = 24
    subset: int = 3
    alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a problem that there is not."""
        if not 1 <= self.subset <= self.bits or self.tasks < 1:
            raise ValueError(f"{self}: want at least one task, and a subset within the bits")
        if self.tasks > math.comb(self.bits, self.subset):
            raise ValueError(
                f"{self.tasks} tasks: {self.bits} bits have only "
                f"{math.comb(self.bits, self.subset)} subsets of {self.subset}"
            )

    def frequencies(self) -> Float[np.ndarray, " tasks"]:
        """Return p_i, falling."""
        return zipf_frequencies(self.tasks, self.alpha)

    def subsets(self) -> Int[np.ndarray, "tasks subset"]:
        """Return which bits each subtask adds up; no two are the same."""
        rng = np.random.default_rng(self.seed)
        found: dict[tuple[int, ...], None] = {}
        while len(found) < self.tasks:
            drawn = rng.choice(self.bits, self.subset, replace=False)
            found[tuple(sorted(drawn.tolist()))] = None
        return np.array(list(islice(found, self.tasks)), np.int64)


@dataclass(frozen=True)
class Setting:
    """How one network is trained.

    Attributes:
        batch_size: samples of a step.
        samples: D, size of the fixed sample; 0 for fresh data every step.
        seed: of the initial parameters and the data.
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
            raise ValueError("batch_size is 0: a step needs a sample")


def convergence_steps(
    task_loss: Float[np.ndarray, "looks tasks"], steps: Int[np.ndarray, " looks"]
) -> Int[np.ndarray, " tasks"]:
    """Return the first step at which each subtask's test loss is under 0.1 bits; -1 if at none.

    Args:
        task_loss: bits, at every look.
        steps: of the looks.
    """
    under = task_loss < CONVERGED_BITS
    return np.where(under.any(axis=0), steps[under.argmax(axis=0)], -1)


@dataclass(frozen=True)
class Convergence:
    """How convergence goes with frequency.

    Attributes:
        converged: number of subtasks that did.
        slope: of log T against log p, None with fewer than three.
        rank_correlation: Spearman's, of T with the rank of the frequency, None likewise.
    """

    converged: int
    slope: float | None
    rank_correlation: float | None


def convergence(
    frequencies: Float[np.ndarray, " tasks"], steps: Int[np.ndarray, " tasks"]
) -> Convergence:
    """Return the slope of convergence time over frequency (theory: -1).

    Args:
        frequencies: p_i.
        steps: of convergence, -1 for a subtask that has not; 0 counts as 1.
    """
    from scipy.stats import spearmanr

    done = np.flatnonzero(steps >= 0)
    if len(done) < 3:
        return Convergence(len(done), None, None)
    time = np.maximum(steps[done], 1).astype(np.float64)
    slope = float(np.polyfit(np.log(frequencies[done]), np.log(time), 1)[0])
    return Convergence(len(done), slope, float(spearmanr(time, done).statistic))
