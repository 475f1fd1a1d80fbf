"""Results of the queries about modular addition, without SQLAlchemy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.experiments.views import CellDetail, CellRow, ExperimentRow


@dataclass(frozen=True)
class KeyFrequency:
    """A key frequency: its neurons, and its shares of the embedding and the logits."""

    k: int
    neurons: int
    energy: float
    explained: float


@dataclass(frozen=True)
class ClockCell:
    """One finished network of a modular addition.

    Attributes:
        experiment: experiment of the cell.
        detail: summary and curves.
        others: other cells of the experiment.
        arrays: stored arrays by name.
    """

    experiment: ExperimentRow
    detail: CellDetail
    others: tuple[CellRow, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def p(self) -> int:
        """Numbers that the network adds."""
        return int(self.experiment.parameters["p"])

    @property
    def has_clock(self) -> bool:
        """Whether its circuit was measured; a diverged network has none."""
        return not self.detail.summary["diverged"]

    @property
    def planes(self) -> tuple[int, ...]:
        """Frequencies with a stored circle, the strongest first."""
        return tuple(self.detail.summary.get("planes", ()))

    @property
    def neurons(self) -> tuple[int, ...]:
        """Neurons with stored maps."""
        return tuple(self.detail.summary.get("drawn_neurons", ()))

    @property
    def key_frequencies(self) -> tuple[KeyFrequency, ...]:
        """Key frequencies, the one with the largest share of the embedding first."""
        names = ("key_frequencies", "key_neurons", "key_energy", "key_explained")
        columns = [self.detail.summary.get(name, []) for name in names]
        frequencies = [KeyFrequency(*values) for values in zip(*columns, strict=True)]
        return tuple(sorted(frequencies, key=lambda frequency: -frequency.energy))

    def map_index(self, evaluation: int) -> int:
        """Return the index of the last stored neuron maps at or before an evaluation."""
        return int(np.searchsorted(self.arrays["moment"], evaluation, "right")) - 1
