"""Runs of multitask sparse parity."""

from app.client.calls import Calls, path_of
from app.client.types import ParityCell, ParityView


class ParityCalls(Calls):
    """Calls about sparse parity."""

    def parity_run(self, experiment: str) -> ParityView:
        """Return a run with its scaling laws and its cells.

        Args:
            experiment: id of the run.
        """
        return self._get(ParityView, path_of("/parity/{}", experiment))

    def parity_cell(self, experiment: str, cell: int, *, tasks: int | None = None) -> ParityCell:
        """Return one network: the loss of every subtask over its steps.

        Args:
            experiment: id of the run.
            cell: its number, from 0.
            tasks: only so many of the most frequent subtasks; all if None.
        """
        path = path_of("/parity/{}/cells/{}", experiment, cell)
        return self._get(ParityCell, path, {"tasks": tasks})
