"""What the queries about experiments return. A step is None where it was never reached."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.jobs.views import JobView

Phase = Literal["C", "G", "M", "X"]


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment in a list; `job` is the newest that asked for it."""

    id: str
    kind: str
    title: str
    parameters: dict[str, Any]
    n_cells: int
    n_finished: int
    created_at: str | None
    page: str
    job: JobView | None


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
