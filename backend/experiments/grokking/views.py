"""Results of the queries about phase diagrams and critical fractions, without SQLAlchemy."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.experiments.views import ExperimentRow

Phase = Literal["C", "G", "M", "X"]
Threshold = Literal["train", "test", "rqi"]


@dataclass(frozen=True)
class GridAxis:
    """One axis of a phase diagram."""

    name: str
    title: str
    values: tuple[float, ...]
    is_log: bool


@dataclass(frozen=True)
class PhaseCell:
    """One cell of a phase diagram; its phase is None until it is finished.

    A step is None if its threshold was never reached. `margin` is the smallest change of a step
    that would change the phase; `test_only` flags a cell in confusion that reached its test
    accuracy without its train accuracy.
    """

    cell: int
    row: int
    column: int
    x: float
    y: float
    phase: Phase | None
    test_only: bool
    train_step: int | None
    test_step: int | None
    rqi_step: int | None
    margin: int | None


@dataclass(frozen=True)
class PhaseDiagramView:
    """A phase diagram: cells row by row from the lowest y, and finished cells by phase."""

    experiment: ExperimentRow
    x: GridAxis
    y: GridAxis
    budget: int
    gap: int
    counts: dict[str, int]
    cells: tuple[PhaseCell, ...]


@dataclass(frozen=True)
class EffectiveTheory:
    """Prediction of effective theory for a cell (arXiv:2205.10343, section 3.2).

    It starts from the cell's initial representation and training set. `representation` is
    [step][number][dimension] at each of `steps`. The dynamics conserve sum and norm: `drift` is
    the largest relative change of either. `grokking_step` is three time constants, None where the
    training set forces no line.
    """

    steps: tuple[int, ...]
    representation: tuple[tuple[tuple[float, ...], ...], ...]
    loss: tuple[float, ...]
    drift: float
    n_parallelograms: int
    n_in_training: int
    nullity: int
    lambda3: float | None
    time_constant: float | None
    grokking_step: float | None


@dataclass(frozen=True)
class AccuracyPrediction:
    """Accuracy of a cell over all pairs: explained by its final representation, and measured."""

    predicted: float
    real: float
    place: dict[str, Any]


@dataclass(frozen=True)
class FractionCell:
    """How often a random training set of `n_train` pairs forces p numbers onto a line."""

    p: int
    n_pairs: int
    n_parallelograms: int
    n_train: tuple[int, ...]
    share: tuple[float, ...]
    fraction: float | None


@dataclass(frozen=True)
class PhasePair:
    """Phases of two grids at the same place."""

    x: float
    y: float
    a: Phase | None
    b: Phase | None


@dataclass(frozen=True)
class PhaseComparison:
    """Two phase diagrams over the same axes: cells at the same place, and the number that agree."""

    a: PhaseDiagramView
    b: PhaseDiagramView
    pairs: tuple[PhasePair, ...]
    n_equal: int
    changes: dict[str, int]
