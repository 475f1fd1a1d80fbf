"""Calls about runs of multitask sparse parity."""

from app.client.calls import Calls, path_of
from app.client.types import ParityCell, ParityView


class ParityCalls(Calls):
    """Calls about sparse parity."""

    def parity_run(self, run: str) -> ParityView:
        """Return a run with its scaling laws and its cells."""
        return self._get(ParityView, path_of("/parity/{}", run))

    def parity_cell(self, run: str, cell: int, *, tasks: int | None = None) -> ParityCell:
        """Return the losses of one network's most frequent subtasks over its steps."""
        path = path_of("/parity/{}/cells/{}", run, cell)
        return self._get(ParityCell, path, {"tasks": tasks})
