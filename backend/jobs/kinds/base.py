"""What a kind of job is: its parameters as a schema, their check, and what it will cost.

Checked parameters name everything (no defaults, no current state), so that their hash is the
job's content key: equal requests meet in one job.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.schemas.parameters import Parameters
from backend.store.database import Store
from backend.store.lookup import has_weights
from backend.store.tables import Checkpoint, Suite


@dataclass(frozen=True)
class Cost:
    """What a job will take, before it is asked for.

    Attributes:
        units: units of work, None while that is not known.
        work: amount that its time is proportional to, in `work_unit`.
        work_unit: "FLOP", "bytes" or "units".
    """

    units: int | None
    work: float
    work_unit: Literal["FLOP", "bytes", "units"]


Checked = dict[str, Any]


def as_asked(parameters: Checked) -> Checked:
    """Return checked parameters as a request says them, where both have the same names."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get("file")
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {name: plain(value) for name, value in parameters.items()}


def _always(store: Store, result: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class JobKind:
    """One kind of job.

    Attributes:
        name: in requests.
        title: for people.
        summary: one sentence: what it makes.
        unit: what its progress counts.
        schema: what a request may say.
        check: returns complete parameters; raises what cannot be asked.
        cost: of checked parameters.
        asked: of checked parameters: a request for the same, as near as a request can come.
        is_there: whether what a finished job made is still there; if not, it is made again.
        on_form: whether the page of runs has a form for it; others have one on pages of their own.
    """

    name: str
    title: str
    summary: str
    unit: str
    schema: type[Parameters]
    check: Callable[[Store, Session, Any], Checked]
    cost: Callable[[Store, Session, Checked], Cost]
    asked: Callable[[Checked], Checked] = field(default=as_asked)
    is_there: Callable[[Store, Mapping[str, Any]], bool] = field(default=_always)
    on_form: bool = True


def parsed(kind: JobKind, asked: Mapping[str, Any]) -> Parameters:
    """Return a request's parameters by the kind's schema.

    Raises:
        InvalidInputError: one is missing, unknown or out of range; names it.
    """
    try:
        return kind.schema.model_validate(dict(asked))
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]) if fault["loc"] else "parameters"
        is_blank = name in asked and asked[name] in (None, "")
        if fault["type"] == "missing" or is_blank:
            raise InvalidInputError(f"{name} is missing", f"Send {name}", name) from error
        raise InvalidInputError(
            f"{name}: {fault['msg'].removeprefix('Value error, ')}",
            f"Correct it; {kind.name} jobs say what they take",
            name,
        ) from error


def with_weights(suite: Suite) -> Suite:
    """Return a suite that can compute.

    Raises:
        InvalidInputError: it was imported as losses.
    """
    if not has_weights(suite):
        raise InvalidInputError(
            f"suite {suite.name} was imported as losses: it has no weights to compute with",
            "Choose another suite; `quanta suite add` registers weights",
            "suite",
        )
    return suite


def places(checkpoints: Sequence[Checkpoint]) -> list[list[str | int]]:
    """Return checkpoints as [model, step]."""
    return [[c.model.name, c.step] for c in checkpoints]


def forward_flop(checkpoints: Sequence[Checkpoint], tokens: int) -> float:
    """Return 2N floating-point operations a token, summed (arXiv:2001.08361, section 2.1)."""
    return 2.0 * tokens * sum(c.model.nonembedding_parameters for c in checkpoints)


def placed(suite: Suite, wanted: Sequence[Sequence[Any]]) -> list[Checkpoint]:
    """Return the checkpoints at [model, step] that a suite still has."""
    known = {(m.name, c.step): c for m in suite.models for c in m.checkpoints}
    return [known[model, step] for model, step in wanted if (model, step) in known]
