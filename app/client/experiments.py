"""Calls about experiments on toy networks: runs, their cells and curves, phase diagrams."""

from os import PathLike
from typing import Any

from app.client import types
from app.client.calls import path_of
from app.client.files import FileCalls
from app.client.paging import Listing
from app.client.tables import STREAM, streamed_table


class ExperimentCalls(FileCalls):
    """Calls about experiments; `submit` starts one."""

    def presets(self) -> tuple[types.PresetView, ...]:
        """Return named parameters of all kinds of experiments."""
        return self._rows(types.PresetView, path_of("/experiments/presets"), "presets", {})

    def experiments(
        self, *, kind: str | None = None, page_size: int = 50
    ) -> Listing[types.ExperimentRow, types.ExperimentPage]:
        """Return experiments, newest first; of one kind, or of all kinds."""
        query = {"kind": kind, "limit": page_size}
        return self._listing(
            types.ExperimentRow, types.ExperimentPage, path_of("/experiments"), "experiments", query
        )

    def experiment(self, experiment: str) -> types.ExperimentDetail:
        """Return one experiment with the summaries of its finished cells."""
        return self._get(types.ExperimentDetail, path_of("/experiments/{}", experiment))

    def experiment_cell(self, experiment: str, cell: int) -> types.CellDetail:
        """Return one finished cell with its training curves."""
        return self._get(types.CellDetail, path_of("/experiments/{}/cells/{}", experiment, cell))

    def experiment_array(self, experiment: str, cell: int, array: str) -> Any:
        """Return an array of a cell.

        Returns:
            A `pyarrow.Table` of `row` (from 0) and the array, with its other dimensions flattened;
            the schema's metadata has its shape.
        """
        path = path_of("/experiments/{}/cells/{}/arrays/{}", experiment, cell, array)
        return streamed_table(self._transport.read(path, {}, accept=STREAM).content)

    def phase_diagram(self, experiment: str, *, gap: int = 1000) -> types.PhaseDiagramView:
        """Return a grid with the phase of every cell; cells grok from a delay of `gap` steps."""
        return self._get(
            types.PhaseDiagramView, path_of("/phase-diagrams/{}", experiment), {"gap": gap}
        )

    def download_phase_diagram(
        self, experiment: str, path: str | PathLike[str], *, gap: int = 1000
    ) -> types.Download:
        """Write the cells of a phase diagram to a CSV file."""
        query = {"gap": gap, "format": "csv"}
        return self._download(path_of("/phase-diagrams/{}", experiment), query, path)

    def phase_diagram_cell(self, experiment: str, cell: int) -> types.CellDetail:
        """Return the training curves of one cell of a grid."""
        return self._get(types.CellDetail, path_of("/phase-diagrams/{}/cells/{}", experiment, cell))

    def effective_theory(self, experiment: str, cell: int) -> types.EffectiveTheory:
        """Return the prediction of effective theory for a cell."""
        path = path_of("/phase-diagrams/{}/cells/{}/theory", experiment, cell)
        return self._get(types.EffectiveTheory, path)

    def compare_phase_diagrams(
        self, experiment: str, other: str, *, gap: int = 1000
    ) -> types.PhaseComparison:
        """Return two grids over the same axes, with the cells that both have."""
        path = path_of("/phase-diagrams/{}/compare/{}", experiment, other)
        return self._get(types.PhaseComparison, path, {"gap": gap})
