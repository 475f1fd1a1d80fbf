"""Plans of jobs: phases of slices, and slices of units of work."""

from dataclasses import dataclass
from typing import Any

Unit = list[Any]
Slice = list[Any]


def slice_units(slice_: Slice) -> list[Unit]:
    """Return the units of a slice."""
    if slice_[0] == "sequence":
        return list(slice_[1])
    if slice_[0] == "chunks":
        _, model, step, first, last = slice_
        return [["chunk", model, step, chunk] for chunk in range(first, last)]
    return [slice_]


@dataclass(frozen=True)
class Plan:
    """Division of a job into units.

    Attributes:
        phases: run one after the other. A phase is a list of slices, which different workers may
            run at the same time. A slice is one unit, ["chunks", model, step, first, last], or
            ["sequence", units], which one worker runs in order.
    """

    phases: list[list[Slice]]

    def units(self) -> list[Unit]:
        """Return the units of all slices."""
        return [unit for phase in self.phases for part in phase for unit in slice_units(part)]


def sequential_plan(*names: str) -> Plan:
    """Return a plan of single units, one after the other."""
    return Plan([[[name]] for name in names])
