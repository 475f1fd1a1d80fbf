"""What a job does, unit by unit: its plan, and how a unit is computed and committed.

Runs in a spawned child of a worker, never in the server. Every unit first looks whether its result
is stored, so that repeating one is harmless.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.progress import Progress, Silent
from backend.stages.devices import Compute
from backend.store.database import Store
from backend.store.lookup import checkpoint_at, model_named, suite_named
from backend.weights.checkpoint_folders import is_here

Unit = list[Any]
Slice = list[Any]
Made = dict[str, Any]
Parameters = dict[str, Any]


def units_of(slice_: Slice) -> list[Unit]:
    """Return the units of a slice."""
    if slice_[0] == "sequence":
        return list(slice_[1])
    if slice_[0] == "chunks":
        _, model, step, first, last = slice_
        return [["chunk", model, step, chunk] for chunk in range(first, last)]
    return [slice_]


@dataclass(frozen=True)
class Plan:
    """How a job is cut up.

    Attributes:
        phases: each after the other; a phase is a list of slices, which different workers may do
            at the same time. A slice is one unit, ["chunks", model, step, first, last], or
            ["sequence", units], which one worker does in order.
    """

    phases: list[list[Slice]]

    def units(self) -> list[Unit]:
        """Return the units of all slices."""
        return [unit for phase in self.phases for one in phase for unit in units_of(one)]


def stages(*names: str) -> Plan:
    """Return a plan of single units, each after the other."""
    return Plan([[[name]] for name in names])


@dataclass(frozen=True)
class Task:
    """One unit of a job, and what it is computed with."""

    store: Store
    compute: Compute
    parameters: Parameters
    unit: Unit
    progress: Progress


@dataclass(frozen=True)
class Work:
    """What a kind of job does.

    Attributes:
        plan: (store, parameters, number of workers that live now) -> Plan.
        perform: computes and commits one unit; returns what it adds to the job's result.
        result: of a finished job, from its parameters: names, and `page`, which shows it.
        is_counted: whether a line of quanta.log comes of everything that is computed, so that none
            means that all was found stored.
    """

    plan: Callable[[Store, Parameters, int], Plan]
    perform: Callable[[Task], Made | None]
    result: Callable[[Parameters], Made]
    is_counted: bool = False


def checkpoint_id(task: Task, session: Session, model: str, step: int) -> int:
    """Return the id of a checkpoint whose weights may be used.

    Raises:
        NotReadyError: they are on a hub, and jobs may not fetch.
    """
    suite = suite_named(session, task.parameters["suite"])
    checkpoint = checkpoint_at(model_named(suite, model), step)
    # A request must not make this machine fetch, unless whoever runs it allowed that.
    if not task.store.settings.jobs_fetch and not is_here(task.store, checkpoint, Silent()):
        raise NotReadyError(
            f"the weights of {model} at step {step} are on a hub, and jobs may not fetch",
            "Start the worker with QUANTA_JOBS_FETCH=true",
        )
    return checkpoint.id
