"""Results of the queries about experiments: frozen dataclasses, without SQLAlchemy."""

from dataclasses import dataclass
from typing import Any, Literal

from backend.read.job_views import JobView


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment in a list; `label` summarises its parameters, `job` is its newest job."""

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
    """Named parameters that reproduce a known result; send them as a job of the kind."""

    kind: str
    name: str
    title: str
    size: Literal["reduced", "full"]
    shows: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class CellRow:
    """A cell of an experiment: its coordinates, and its summary once it is finished."""

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
    """An array of a cell that is not a curve; its own address returns it as an Arrow stream."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CellDetail:
    """A finished cell: `curves` have a value at each of `steps`, None where a network diverged."""

    experiment: str
    kind: str
    cell: int
    place: dict[str, Any]
    summary: dict[str, Any]
    provenance: dict[str, Any]
    steps: tuple[int, ...]
    curves: dict[str, tuple[float | None, ...]]
    arrays: tuple[ArrayInfo, ...]
