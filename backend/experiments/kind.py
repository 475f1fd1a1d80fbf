"""Kinds of experiments: their parameters, and the cells that the parameters make.

A cell is one network or one measurement. Its result depends on the parameters and on its place
alone, not on the cells beside it. `backend.experiments.cell_functions` computes cells and loads
torch; the server never imports it.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backend.errors import InvalidInputError
from backend.schemas.parameters import Parameters
from backend.store.database import Store
from backend.store.keys import result_key

Place = dict[str, Any]
"""Coordinates of a cell: the value of every parameter that the cells vary."""

ID_DIGITS = 16


@dataclass(frozen=True)
class Preset:
    """Named parameters that reproduce a known result.

    Attributes:
        size: "reduced" takes about two minutes on two cores, "full" is as published.
        shows: the result to look for.
    """

    name: str
    title: str
    size: Literal["reduced", "full"]
    shows: str
    parameters: dict[str, Any]


class ExperimentParameters(Parameters):
    """Complete parameters of an experiment: a request with every default filled in."""

    @abstractmethod
    def places(self) -> list[Place]:
        """Return the place of every cell, in order.

        Raises:
            ValueError: the parameters make no cells; the message starts with a parameter's name.
        """

    @abstractmethod
    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""

    @abstractmethod
    def label(self) -> str:
        """Return a short description that tells runs apart."""


def _identity(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    return request


@dataclass(frozen=True)
class ExperimentKind:
    """One kind of experiment.

    Attributes:
        name: name of the kind and of its jobs.
        title: title for people.
        summary: one sentence on the result.
        page: path of its page.
        schema: parameters of a request.
        params: complete parameters, as they are stored.
        presets: named parameters; the page starts from the first.
        complete: fills in what a request leaves open and checks its files; JSON to JSON.
        cells_per_unit: cells of one unit of work on a CPU.
        page_query: query parameter of the page that selects an experiment of this kind.
    """

    name: str
    title: str
    summary: str
    page: str
    schema: type[Parameters]
    params: type[ExperimentParameters]
    presets: tuple[Preset, ...]
    complete: Callable[[Store, dict[str, Any]], dict[str, Any]] = _identity
    cells_per_unit: int = 8
    page_query: str = "run"

    def parse(self, parameters: Mapping[str, Any]) -> Any:
        """Return stored parameters as an instance of `params`."""
        return self.params.model_validate(dict(parameters))

    def key(self, parameters: Mapping[str, Any]) -> str:
        """Return the content key of an experiment."""
        return result_key("experiment", kind=self.name, parameters=parameters)

    def public_id(self, parameters: Mapping[str, Any]) -> str:
        """Return the id of an experiment in addresses: the first digits of its content key."""
        return self.key(parameters)[:ID_DIGITS]

    def page_address(self, experiment: str) -> str:
        """Return the address of the page that shows an experiment."""
        anchor = "" if self.page_query == "run" else f"#{self.page_query}"
        return f"{self.page}?{self.page_query}={experiment}{anchor}"


def cell_ranges(n_cells: int, cells_per_unit: int) -> list[range]:
    """Return the cells of every unit of work."""
    starts = range(0, n_cells, cells_per_unit)
    return [range(start, min(start + cells_per_unit, n_cells)) for start in starts]


def complete_parameters(store: Store, kind: ExperimentKind, request: Parameters) -> dict[str, Any]:
    """Return the complete parameters of an experiment as JSON.

    Raises:
        InvalidInputError: the parameters make no cells.
    """
    parameters = kind.complete(store, request.model_dump(mode="json"))
    try:
        kind.parse(parameters).places()
    except ValueError as error:
        problem = str(error)
        name = next((name for name in parameters if problem.startswith(name)), None)
        raise InvalidInputError(problem, "Correct it; presets show valid values", name) from error
    return parameters
