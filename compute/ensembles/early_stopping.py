"""Early stopping: stop a network after its loss has risen at several evaluations in a row.

Source: arXiv:2303.13506, appendix on data scaling. The published code stops a network after step
4,000 once the test loss has risen at 10 evaluations in a row, 50 steps apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PREFIX = "early_stopping."


@dataclass(frozen=True)
class EarlyStopping:
    """Criterion of early stopping.

    Attributes:
        monitor: name of the measure, one number a network.
        patience: rises in a row, from one evaluation to the next, that stop a network.
        start_step: rises up to this step do not count.
        eval_every: steps between evaluations.
    """

    monitor: str
    patience: int
    start_step: int = 0
    eval_every: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range."""
        if self.patience < 1 or self.eval_every < 1 or self.start_step < 0:
            raise ValueError(
                f"patience {self.patience}, eval_every {self.eval_every}, "
                f"start_step {self.start_step}: want at least 1, 1 and 0"
            )


class RiseCounter:
    """Counts how many times in a row the measure of each network of a stack has risen."""

    def __init__(self, criterion: EarlyStopping, count: int) -> None:
        self.criterion = criterion
        self._last: Float[np.ndarray, " networks"] = np.full(count, np.inf)
        self._n_rises: Int[np.ndarray, " networks"] = np.zeros(count, np.int64)

    def is_due(self, step: int) -> bool:
        """Return whether the measure is evaluated before the update of a step."""
        return step % self.criterion.eval_every == 0

    def update(
        self, step: int, values: Float[np.ndarray, " networks"]
    ) -> Bool[np.ndarray, " networks"]:
        """Count an evaluation; return which networks are out of patience.

        NaN counts as a rise: a diverged network does not recover.
        """
        has_risen = ~(values <= self._last) & (step > self.criterion.start_step)
        self._n_rises = np.where(has_risen, self._n_rises + 1, 0)
        self._last = values
        is_exhausted: Bool[np.ndarray, " networks"] = self._n_rises >= self.criterion.patience
        return is_exhausted

    def select(self, rows: Int[np.ndarray, " rows"]) -> None:
        """Drop all other networks."""
        self._last, self._n_rises = self._last[rows], self._n_rises[rows]

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that `restore` needs."""
        return {
            f"{PREFIX}last": torch.from_numpy(self._last.copy()),
            f"{PREFIX}n_rises": torch.from_numpy(self._n_rises.copy()),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state."""
        self._last = state[f"{PREFIX}last"].numpy().copy()
        self._n_rises = state[f"{PREFIX}n_rises"].numpy().copy()
