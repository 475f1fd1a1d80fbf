"""What the queries about experiments return. A step is None where it was never reached."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.read.job_views import JobView

Phase = Literal["C", "G", "M", "X"]


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment in a list; `label` sums its parameters up, `job` is the newest for it."""

    id: str
    kind: str
    title: str
    label: str
    parameters: dict[str, Any]
    n_cells: int
    n_finished: int
    created_at: str | None
    page: str
    job: JobView | None


@dataclass(frozen=True)
class ExperimentPage:
    """A page of experiments, newest first."""

    experiments: tuple[ExperimentRow, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class PresetView:
    """Parameters that show something known; send them as a job of the kind."""

    kind: str
    name: str
    title: str
    size: Literal["reduced", "full"]
    shows: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class CellRow:
    """A cell of an experiment: what sets it apart, and its numbers once it is finished."""

    cell: int
    place: dict[str, Any]
    summary: dict[str, Any] | None


@dataclass(frozen=True)
class ExperimentDetail:
    """An experiment with all its cells."""

    experiment: ExperimentRow
    cells: tuple[CellRow, ...]


@dataclass(frozen=True)
class ArrayInfo:
    """An array of a cell that is no curve; its own address gives it as an Arrow stream."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CellDetail:
    """A finished cell: `curves` are values at each of `steps`; None where a network diverged."""

    experiment: str
    kind: str
    cell: int
    place: dict[str, Any]
    summary: dict[str, Any]
    provenance: dict[str, Any]
    steps: tuple[int, ...]
    curves: dict[str, tuple[float | None, ...]]
    arrays: tuple[ArrayInfo, ...]


@dataclass(frozen=True)
class GridAxis:
    """One axis of a phase diagram."""

    name: str
    title: str
    values: tuple[float, ...]
    is_log: bool


@dataclass(frozen=True)
class PhaseCell:
    """One cell of a phase diagram; no phase while it is not finished.

    `margin` is how many steps it is away from another phase; `test_only` flags a cell in confusion
    that reached its test accuracy without its train accuracy.
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
    """A phase diagram: cells row by row from the lowest y, `counts` of the finished ones."""

    experiment: ExperimentRow
    x: GridAxis
    y: GridAxis
    budget: int
    gap: int
    counts: dict[str, int]
    cells: tuple[PhaseCell, ...]


@dataclass(frozen=True)
class EffectiveTheory:
    """What effective theory makes of a cell's start and training set (arXiv:2205.10343, 3.2).

    `representation` is [look][number][dimension] at each of `steps`. Sum and norm are conserved by
    the dynamics: `drift` is the largest relative change of either along the way. `grokking_step`
    is three time constants, None where the training set forces no line.
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
    """A cell of two grids at the same place."""

    x: float
    y: float
    a: Phase | None
    b: Phase | None


@dataclass(frozen=True)
class PhaseComparison:
    """Two phase diagrams over the same axes: cells at the same place, and how many agree."""

    a: PhaseDiagramView
    b: PhaseDiagramView
    pairs: tuple[PhasePair, ...]
    n_equal: int
    changes: dict[str, int]
