"""What a kind of experiment is: its parameters, and the cells that they make.

A cell is one network, or one measurement: what it shows depends on the parameters and its place
alone, never on the cells beside it. `backend.experiments.computing` computes
cells; no server loads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.errors import InvalidInputError
from backend.schemas.parameters import Parameters
from backend.store.database import Store
from backend.store.keys import result_key

Checked = dict[str, Any]
ID_DIGITS = 16


@dataclass(frozen=True)
class Preset:
    """Parameters that show something known, under a name.

    Attributes:
        size: "reduced" takes some two minutes of two cores, "full" is as published.
        shows: what to look for.
    """

    name: str
    title: str
    size: Literal["reduced", "full"]
    shows: str
    parameters: dict[str, Any]


def described(asked: Checked) -> str:
    """Return parameters in a few words: numbers of values, and names of single ones."""

    def words(value: Any) -> str:
        if isinstance(value, list):
            return str(value[0]) if len(value) == 1 else f"{len(value)} values"
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {words(value)}" for name, value in asked.items())


def _as_they_are(store: Store, asked: Checked) -> Checked:
    return asked


@dataclass(frozen=True)
class ExperimentKind:
    """One kind of experiment.

    Attributes:
        name: of the kind, and of its jobs.
        title: for people.
        summary: one sentence: what it makes.
        page: path of the page that shows it.
        schema: what a request may say.
        presets: the first is what the page starts from.
        places: what sets each cell apart, in their order; raises ValueError for parameters that
            make no cells.
        flop: floating-point operations of all cells, at most.
        complete: fills in what a request leaves open, and looks at files.
        label: complete parameters in a few words, to tell runs apart.
        group: cells of one unit of work on a CPU.
        shown_by: parameter of the page that names an experiment of this kind.
    """

    name: str
    title: str
    summary: str
    page: str
    schema: type[Parameters]
    presets: tuple[Preset, ...]
    places: Callable[[Checked], list[dict[str, Any]]]
    flop: Callable[[Checked], float]
    complete: Callable[[Store, Checked], Checked] = field(default=_as_they_are)
    label: Callable[[Checked], str] = field(default=described)
    group: int = 8
    shown_by: str = "run"

    def key(self, parameters: Mapping[str, Any]) -> str:
        """Return the content key of an experiment."""
        return result_key("experiment", kind=self.name, parameters=parameters)

    def address(self, name: str) -> str:
        """Return the address of the page that shows an experiment."""
        anchor = "" if self.shown_by == "run" else f"#{self.shown_by}"
        return f"{self.page}?{self.shown_by}={name}{anchor}"

    def id(self, parameters: Mapping[str, Any]) -> str:
        """Return what names an experiment outside."""
        return self.key(parameters)[:ID_DIGITS]


def groups(count: int, size: int) -> list[range]:
    """Return the cells of every unit of work."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def complete(store: Store, kind: ExperimentKind, asked: Parameters) -> Checked:
    """Return the complete parameters of an experiment.

    Raises:
        InvalidInputError: they make no cells.
    """
    whole: dict[str, Any] = kind.complete(store, asked.model_dump(mode="json"))
    try:
        kind.places(whole)
    except ValueError as error:
        fault = str(error)
        named = next((name for name in whole if fault.startswith(name)), None)
        raise InvalidInputError(fault, "Correct it; presets show what works", named) from error
    return whole
