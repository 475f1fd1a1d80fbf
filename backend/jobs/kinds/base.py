"""Base of all kinds of jobs: parameters and their validation, cost, plan, and the work of a unit.

Validated parameters name everything (no defaults, no current state), so that their hash is the
job's content key: equal requests share one job. A unit checks first whether its result is stored,
so that repeating it is harmless. Units run in a spawned child of a worker, never in the server,
and import the stages (and torch) only there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.orm import Session

from backend.jobs.kinds.plans import Plan, Unit
from backend.progress import Progress
from backend.schemas.parameters import Parameters
from backend.store.data_files import file_size
from backend.store.database import Store
from backend.store.keys import result_key

if TYPE_CHECKING:
    from backend.stages.devices import Compute

JobParams = dict[str, Any]
JobResult = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """Expected cost of a job.

    Attributes:
        units: number of units, None while it is not known.
        work: amount that the time is proportional to, in `work_unit`.
        work_unit: "FLOP", "bytes" or "units".
    """

    units: int | None
    work: float
    work_unit: Literal["FLOP", "bytes", "units"]


@dataclass(frozen=True)
class Task:
    """One unit of a job, and the store, device and progress to compute it with."""

    store: Store
    compute: "Compute"
    params: JobParams
    unit: Unit
    progress: Progress


def file_cost(store: Store, session: Session, params: JobParams) -> Cost:
    """Return the cost of a job that reads the `file` of its parameters once."""
    return Cost(1, float(file_size(store, params["file"])), "bytes")


def as_request(params: JobParams) -> JobParams:
    """Return validated parameters as a request, where both have the same names."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("file")
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {name: plain(value) for name, value in params.items()}


@dataclass(frozen=True)
class JobKind:
    """One kind of job.

    Attributes:
        name: in requests.
        title: for people.
        summary: one sentence that says what the job makes.
        unit: what its progress counts.
        schema: parameters of a request.
        validate: returns complete parameters; raises if the request cannot be met.
        cost: of validated parameters.
        plan: units for a number of running workers.
        perform: computes and commits one unit; returns its part of the job's result.
        result: of a finished job, from its parameters: names, and the `page` that shows it.
        as_request: the request closest to validated parameters.
        has_result: whether the result of a finished job still exists; if not, it is computed again.
        has_form: whether the page of jobs has a form for it; other kinds have pages of their own.
        is_logged: whether every computed unit writes a line to quanta.log, so that no line means
            that its result was stored already.
    """

    name: str
    title: str
    summary: str
    unit: str
    schema: type[Parameters]
    validate: Callable[[Store, Session, Any], JobParams]
    cost: Callable[[Store, Session, JobParams], Cost]
    plan: Callable[[Store, JobParams, int], Plan]
    perform: Callable[[Task], JobResult | None]
    result: Callable[[JobParams], JobResult]
    as_request: Callable[[JobParams], JobParams] = as_request
    has_result: Callable[[Store, Mapping[str, Any]], bool] = lambda store, result: True
    has_form: bool = True
    is_logged: bool = False

    def key(self, params: JobParams) -> str:
        """Return the content key of a job of this kind."""
        return result_key("job", kind=self.name, parameters=params)
