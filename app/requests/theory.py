"""What the Theory page, its figures and its API call are asked for: one set of parameters."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.requests.pages import EmptyAllowed
from backend.scaling.theory import BOUNDS
from backend.scaling.theory_views import TheoryRequest

DEFAULTS = TheoryRequest()
_DEFAULTS = asdict(DEFAULTS)


def _documented(name: str) -> dict[str, Any]:
    """Return the bounds for the schema; the query keeps them, in words that say what to choose."""
    bounds = BOUNDS[name]
    # How large a may be depends on b.
    most = {} if name == "a" else {"maximum": bounds.most}
    return {"minimum": bounds.least, **most}


def _inner(name: str) -> Any:
    return Field(allow_inf_nan=False, json_schema_extra=_documented(name))


def _whole(name: str) -> Any:
    return Field(json_schema_extra={key: int(end) for key, end in _documented(name).items()})


def _field(name: str) -> Any:
    return Field(description=BOUNDS[name].meaning)


def _or_default(name: str) -> EmptyAllowed:
    return EmptyAllowed(lambda value: _DEFAULTS[name] if value == "" else value)


class TheoryQuery(BaseModel):
    """Numbers of the simulator; an empty field counts as not given."""

    model_config = ConfigDict(extra="ignore")

    alpha: Annotated[Annotated[float, _inner("alpha")], _or_default("alpha"), _field("alpha")] = (
        DEFAULTS.alpha
    )
    capacity: Annotated[
        Annotated[float, _inner("capacity")], _or_default("capacity"), _field("capacity")
    ] = DEFAULTS.capacity
    threshold: Annotated[
        Annotated[float, _inner("threshold")], _or_default("threshold"), _field("threshold")
    ] = DEFAULTS.threshold
    first_steps: Annotated[
        Annotated[float, _inner("first_steps")], _or_default("first_steps"), _field("first_steps")
    ] = DEFAULTS.first_steps
    a: Annotated[Annotated[float, _inner("a")], _or_default("a"), _field("a")] = DEFAULTS.a
    b: Annotated[Annotated[float, _inner("b")], _or_default("b"), _field("b")] = DEFAULTS.b
    m: Annotated[Annotated[int, _whole("m")], _or_default("m"), _field("m")] = DEFAULTS.m
    n: Annotated[Annotated[int, _whole("n")], _or_default("n"), _field("n")] = DEFAULTS.n

    def request(self) -> TheoryRequest:
        """Return what to ask the simulator for."""
        return TheoryRequest(**self.model_dump())

    def changed(self) -> dict[str, str]:
        """Return the parameters that differ from their defaults, as an address has them."""
        return {
            name: f"{value:.12g}"
            for name, value in self.model_dump().items()
            if value != _DEFAULTS[name]
        }
