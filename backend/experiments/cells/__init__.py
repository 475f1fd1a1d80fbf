"""How the cells of every kind of experiment are computed; loads torch."""

from backend.experiments.cells import (
    critical_fraction,
    modular_addition,
    omnigrok,
    phase_diagram,
    sparse_parity,
)
from backend.experiments.cells.base import Bench, CellResult, Computing

__all__ = ["COMPUTING", "Bench", "CellResult", "Computing"]

# One for every kind of backend.experiments.KINDS.
COMPUTING: dict[str, Computing] = {
    "phase_diagram": phase_diagram.compute,
    "critical_fraction": critical_fraction.compute,
    "omnigrok": omnigrok.compute,
    "sparse_parity": sparse_parity.compute,
    "modular_addition": modular_addition.compute,
}
