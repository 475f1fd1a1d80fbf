"""Calls about runs of multitask sparse parity."""

from app.client.calls import Calls, path_of
from app.client.types import ParityCell, ParityView


class ParityCalls(Calls):
    """Calls about sparse parity."""

    def parity_run(self, run: str) -> ParityView:
        """Return a run with its scaling laws and its cells.

        Args:
            run: id of the run.
        """
        return self._get(ParityView, path_of("/parity/{}", run))

    def parity_cell(self, run: str, cell: int, *, tasks: int | None = None) -> ParityCell:
        """Return one network: the loss of every subtask over its steps.

        Args:
            run: id of the run.
            cell: number of the cell, from 0.
            tasks: only this many of the most frequent subtasks; None: all.
        """
        path = path_of("/parity/{}/cells/{}", run, cell)
        return self._get(ParityCell, path, {"tasks": tasks})
