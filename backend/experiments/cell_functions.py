"""The function that computes the cells of each kind of experiment; loads torch."""

from collections.abc import Callable, Sequence
from typing import Any

from backend.experiments.cells import CellContext, CellResult
from backend.experiments.grokking import cells as phase_diagram
from backend.experiments.grokking import critical_fraction_cells as critical_fraction
from backend.experiments.modular_addition import cells as modular_addition
from backend.experiments.omnigrok import cells as omnigrok
from backend.experiments.sparse_parity import cells as sparse_parity

CellFunction = Callable[[Any, Sequence[int], CellContext], list[CellResult]]
"""(params, cells, context) -> results that the function has not committed itself.

Raises ValueError for parameters that cannot be computed.
"""

# One for every kind of backend.experiments.registry.KINDS.
CELL_FUNCTIONS: dict[str, CellFunction] = {
    "phase_diagram": phase_diagram.compute_cells,
    "critical_fraction": critical_fraction.compute_cells,
    "omnigrok": omnigrok.compute_cells,
    "sparse_parity": sparse_parity.compute_cells,
    "modular_addition": modular_addition.compute_cells,
}
