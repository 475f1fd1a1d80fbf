"""Small phase diagrams for the tests of experiments."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from backend.experiments.queries import load_arrays_of_cells
from backend.jobs.kinds.registry import validate_params
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests.stores import SMALL_GRID

KIND = "phase_diagram"
Parameters = dict[str, Any]


@contextmanager
def empty_store(folder: Path) -> Iterator[Store]:
    """An empty store."""
    store = open_store(Settings(data_dir=folder))
    yield store
    store.close()


def complete(store: Store, **changes: Any) -> Parameters:
    with store.session() as session:
        return validate_params(store, session, KIND, {**SMALL_GRID, **changes})


def load_cell_arrays(store: Store, experiment: str, cell: int) -> dict[str, NDArray[Any]]:
    """All arrays of a finished cell by name."""
    return load_arrays_of_cells(store, experiment, [cell])[cell]
