"""The four phases of learning, from the steps at which accuracies are reached.

Source: arXiv:2205.10343, section 4: comprehension (C), grokking (G), memorisation (M), confusion
(X). An accuracy that is never reached within a budget of S steps is stored as S - 1, the last step.

Two cases are left open there. A test accuracy that comes exactly `gap` steps after the train
accuracy is grokking: the delay has reached the gap. A test accuracy without the train accuracy is
confusion, with a flag: what was asked of the network, to fit its training set, was not learned.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

COMPREHENSION, GROKKING, MEMORISATION, CONFUSION = "C", "G", "M", "X"
PHASES = (COMPREHENSION, GROKKING, MEMORISATION, CONFUSION)
PHASE_NAMES = {
    COMPREHENSION: "comprehension",
    GROKKING: "grokking",
    MEMORISATION: "memorisation",
    CONFUSION: "confusion",
}
PUBLISHED_GAP = 1_000


@dataclass(frozen=True)
class PhaseLabels:
    """Phases of the cells of a grid.

    Attributes:
        phases: one letter of `PHASES` a cell.
        test_only: cells in confusion whose test accuracy was reached without the train accuracy.
    """

    phases: Shaped[np.ndarray, "*cells"]
    test_only: Bool[np.ndarray, "*cells"]

    def counts(self) -> dict[str, int]:
        """Return how many cells each phase has, and how many of those in confusion are flagged."""
        found = {phase: int((self.phases == phase).sum()) for phase in PHASES}
        return {**found, "test_only": int(self.test_only.sum())}


def phase_labels(
    train: Int[np.ndarray, "..."],
    test: Int[np.ndarray, "..."],
    budget: int,
    gap: int = PUBLISHED_GAP,
) -> PhaseLabels:
    """Return the phase of every cell.

    Args:
        train: step at which the train accuracy was reached; budget - 1, or more, if never.
        test: the same of the test accuracy.
        budget: number of steps S.
        gap: steps between the two from which a delay counts as grokking.

    Raises:
        ValueError: shapes differ, a step is negative, or the budget or the gap is not positive.
    """
    if train.shape != test.shape:
        raise ValueError(f"{train.shape} train steps, {test.shape} test steps: one of each a cell")
    if budget < 2 or gap < 1:
        raise ValueError(f"budget {budget}, gap {gap}: want a budget >= 2 and a gap >= 1")
    if min(train.min(initial=0), test.min(initial=0)) < 0:
        raise ValueError("a step is negative; count from 0")
    fits, generalises = train < budget - 1, test < budget - 1
    late = test.astype(np.int64) - train >= gap
    phases = np.full(train.shape, CONFUSION)
    phases[fits & ~generalises] = MEMORISATION
    phases[fits & generalises & late] = GROKKING
    phases[fits & generalises & ~late] = COMPREHENSION
    return PhaseLabels(phases, generalises & ~fits)


def margins(
    train: Int[np.ndarray, "*cells"],
    test: Int[np.ndarray, "*cells"],
    budget: int,
    gap: int = PUBLISHED_GAP,
) -> Int[np.ndarray, "*cells"]:
    """Return how many steps each cell is away from another phase.

    The smallest change of one of its steps that would give it another label.
    """
    to_train = np.abs(budget - 1 - train.astype(np.int64))
    to_test = np.abs(budget - 1 - test.astype(np.int64))
    to_gap = np.abs(test.astype(np.int64) - train - gap)
    fits, generalises = train < budget - 1, test < budget - 1
    # Unreached: how far beyond the budget it would have been is not known.
    away = np.where(fits, to_train, budget)
    away = np.where(fits & generalises, np.minimum(to_test, np.minimum(away, to_gap)), away)
    return np.where(~fits & generalises, to_test, away)
