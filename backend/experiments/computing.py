"""How the cells of every kind of experiment are computed; loads torch."""

from backend.experiments.cells import Bench, CellResult, Computing
from backend.experiments.grokking import cells as phase_diagram
from backend.experiments.grokking import critical_fraction_cells as critical_fraction
from backend.experiments.modular_addition import cells as modular_addition
from backend.experiments.omnigrok import cells as omnigrok
from backend.experiments.sparse_parity import cells as sparse_parity

__all__ = ["COMPUTING", "Bench", "CellResult", "Computing"]

# One for every kind of backend.experiments.registry.KINDS.
COMPUTING: dict[str, Computing] = {
    "phase_diagram": phase_diagram.compute,
    "critical_fraction": critical_fraction.compute,
    "omnigrok": omnigrok.compute,
    "sparse_parity": sparse_parity.compute,
    "modular_addition": modular_addition.compute,
}
