"""The four phases of learning, from the steps at which accuracy thresholds are reached.

Source: arXiv:2205.10343, section 4: comprehension (C), grokking (G), memorisation (M), confusion
(X). A threshold that is not reached within a budget of S steps is stored as S - 1, the last step.

The source leaves two cases open. A test threshold reached exactly `gap` steps after the train
threshold is grokking. A test threshold without the train threshold is confusion, with a flag: the
network has not learned its training set.
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
        phases: one letter of `PHASES` per cell.
        test_only: cells in confusion that reached the test threshold only.
    """

    phases: Shaped[np.ndarray, "*cells"]
    test_only: Bool[np.ndarray, "*cells"]

    def counts(self) -> dict[str, int]:
        """Return the number of cells of each phase, and of flagged cells as "test_only"."""
        counts = {phase: int((self.phases == phase).sum()) for phase in PHASES}
        return {**counts, "test_only": int(self.test_only.sum())}


def phase_labels(
    train: Int[np.ndarray, "..."],
    test: Int[np.ndarray, "..."],
    budget: int,
    gap: int = PUBLISHED_GAP,
) -> PhaseLabels:
    """Return the phase of every cell.

    Args:
        train: first step at the train threshold; budget - 1 or more if never.
        test: first step at the test threshold, likewise.
        budget: number of steps S.
        gap: minimum delay between both that counts as grokking, in steps.

    Raises:
        ValueError: shapes differ, a step is negative, or the budget or the gap is not positive.
    """
    if train.shape != test.shape:
        raise ValueError(f"{train.shape} train steps, {test.shape} test steps: want equal shapes")
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
    """Return the smallest change of one step that would give each cell another phase."""
    to_train = np.abs(budget - 1 - train.astype(np.int64))
    to_test = np.abs(budget - 1 - test.astype(np.int64))
    to_gap = np.abs(test.astype(np.int64) - train - gap)
    fits, generalises = train < budget - 1, test < budget - 1
    # A threshold that was not reached may lie any number of steps beyond the budget.
    margin = np.where(fits, to_train, budget)
    margin = np.where(fits & generalises, np.minimum(to_test, np.minimum(margin, to_gap)), margin)
    return np.where(~fits & generalises, to_test, margin)
