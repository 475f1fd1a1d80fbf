"""Early stop: a network whose loss keeps rising has shown its best.

Source: arXiv:2303.13506, appendix on data scaling; its published code stops a network after step
4,000 once the test loss has risen at 10 looks in a row, 50 steps apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PREFIX = "patience."


@dataclass(frozen=True)
class Patience:
    """When to let a network go.

    Attributes:
        measure: whose rise is watched; one number a network.
        rises: looks in a row at each of which it is above the look before.
        after: step up to which no rise counts.
        every: steps between looks.
    """

    measure: str
    rises: int
    after: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that mean nothing."""
        if self.rises < 1 or self.every < 1 or self.after < 0:
            raise ValueError(
                f"rises {self.rises}, every {self.every}, after {self.after}: "
                "want at least 1, 1 and 0"
            )


class Rises:
    """How many times in a row the measure of each network of a stack has risen."""

    def __init__(self, patience: Patience, count: int) -> None:
        self.patience = patience
        self.last: Float[np.ndarray, " networks"] = np.full(count, np.inf)
        self.in_a_row: Int[np.ndarray, " networks"] = np.zeros(count, np.int64)

    def is_due(self, step: int) -> bool:
        """Return whether networks are looked at before a step."""
        return step % self.patience.every == 0

    def spent(
        self, step: int, values: Float[np.ndarray, " networks"]
    ) -> Bool[np.ndarray, " networks"]:
        """Note a look; return which networks have used up their patience.

        What is not a number counts as a rise: a network that has diverged does not come back.
        """
        rose = ~(values <= self.last) & (step > self.patience.after)
        self.in_a_row = np.where(rose, self.in_a_row + 1, 0)
        self.last = values
        out: Bool[np.ndarray, " networks"] = self.in_a_row >= self.patience.rises
        return out

    def keep(self, places: Int[np.ndarray, " kept"]) -> None:
        """Go on with some of the networks."""
        self.last, self.in_a_row = self.last[places], self.in_a_row[places]

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs."""
        return {
            f"{PREFIX}last": torch.from_numpy(self.last.copy()),
            f"{PREFIX}in_a_row": torch.from_numpy(self.in_a_row.copy()),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.last = state[f"{PREFIX}last"].numpy().copy()
        self.in_a_row = state[f"{PREFIX}in_a_row"].numpy().copy()
