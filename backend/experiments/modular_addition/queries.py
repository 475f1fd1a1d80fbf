"""What the Clock page draws of one modular adder: its curves, and its circuit at every look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import NotFoundError
from backend.experiments import queries as experiments
from backend.experiments.views import CellDetail, CellRow, ExperimentRow
from backend.store.database import Store

KIND = "modular_addition"
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class KeyFrequency:
    """A frequency of the clock, with its shares of neurons, embedding and logits."""

    k: int
    neurons: int
    energy: float
    explained: float


@dataclass(frozen=True)
class ClockCell:
    """One finished network.

    Attributes:
        row: its experiment.
        detail: its numbers and curves.
        others: the other cells of the experiment.
        arrays: by name, as the cell keeps them.
    """

    row: ExperimentRow
    detail: CellDetail
    others: tuple[CellRow, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def p(self) -> int:
        """How many numbers it adds."""
        return int(self.row.parameters["p"])

    @property
    def has_clock(self) -> bool:
        """Whether it was measured: it was not if its weights are no numbers any more."""
        return not self.detail.summary["diverged"]

    @property
    def planes(self) -> tuple[int, ...]:
        """Frequencies whose circles are kept, the strongest first."""
        return tuple(self.detail.summary.get("planes", ()))

    @property
    def neurons(self) -> tuple[int, ...]:
        """Neurons whose maps are kept."""
        return tuple(self.detail.summary.get("drawn_neurons", ()))

    @property
    def key(self) -> tuple[KeyFrequency, ...]:
        """Key frequencies, the one with most of the embedding first."""
        names = ("key_frequencies", "key_neurons", "key_energy", "key_explained")
        columns = [self.detail.summary.get(name, []) for name in names]
        found = [KeyFrequency(*values) for values in zip(*columns, strict=True)]
        return tuple(sorted(found, key=lambda one: -one.energy))

    def moment(self, look: int) -> int:
        """Return which kept moment is the last at or before a look."""
        return int(np.searchsorted(self.arrays["moment"], look, "right")) - 1


def clock_cell(store: Store, name: str, cell: int) -> ClockCell:
    """Return one network of a modular addition.

    Raises:
        NotFoundError: there is no such experiment or cell, or it is of another kind.
        NotReadyError: it is not finished.
    """
    found = experiments.experiment(store, name)
    if found.experiment.kind != KIND:
        raise NotFoundError(
            f"experiment {name} is no modular addition", f"See {found.experiment.page}"
        )
    return ClockCell(
        found.experiment,
        experiments.cell(store, name, cell),
        tuple(one for one in found.cells if one.cell != cell),
        experiments.cell_arrays(store, name, cell),
    )


def attention(scores: NDArray[Any], p: int) -> Numbers:
    """Return attention [heads, 2, a, b]: to a and to b, what is left goes to "=".

    Args:
        scores: [heads, 2p + 1], before softmax, to numbers as first, as second, and to "=".
        p: how many numbers there are.
    """
    heads = len(scores)
    three = np.zeros((heads, 3, p, p))
    three[:, 0] = scores[:, :p, None]
    three[:, 1] = scores[:, None, p : 2 * p]
    three[:, 2] = scores[:, 2 * p, None, None]
    three = np.exp(three - three.max(axis=1, keepdims=True))
    shares: Numbers = three[:, :2] / three.sum(axis=1, keepdims=True)
    return shares
