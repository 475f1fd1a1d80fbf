"""Parameters of the theory simulator, shared by its page, its figures and its API call."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from app.requests.pages import EmptyAllowed
from backend.scaling.theory import BOUNDS
from backend.scaling.theory_views import TheoryRequest

DEFAULTS = TheoryRequest()
_DEFAULTS = asdict(DEFAULTS)


def _schema(name: str) -> dict[str, Any]:
    # The simulator checks the bounds, with a message that names the remedy; here they are
    # documented. The maximum of a depends on b.
    bounds = BOUNDS[name]
    return {"minimum": bounds.minimum} | ({} if name == "a" else {"maximum": bounds.maximum})


def _float(name: str) -> Any:
    return Field(allow_inf_nan=False, json_schema_extra=_schema(name))


def _integer(name: str) -> Any:
    return Field(json_schema_extra={key: int(value) for key, value in _schema(name).items()})


def _field(name: str) -> Any:
    return Field(description=BOUNDS[name].description)


def _or_default(name: str) -> EmptyAllowed:
    return EmptyAllowed(lambda value: _DEFAULTS[name] if value == "" else value)


class TheoryQuery(BaseModel):
    """Parameters of the simulator; an empty field counts as not given."""

    model_config = ConfigDict(extra="ignore")

    alpha: Annotated[Annotated[float, _float("alpha")], _or_default("alpha"), _field("alpha")] = (
        DEFAULTS.alpha
    )
    capacity: Annotated[
        Annotated[float, _float("capacity")], _or_default("capacity"), _field("capacity")
    ] = DEFAULTS.capacity
    tau: Annotated[Annotated[float, _float("tau")], _or_default("tau"), _field("tau")] = Field(
        # `threshold` is the former name, still accepted.
        DEFAULTS.tau,
        validation_alias=AliasChoices("tau", "threshold"),
    )
    first_steps: Annotated[
        Annotated[float, _float("first_steps")], _or_default("first_steps"), _field("first_steps")
    ] = DEFAULTS.first_steps
    a: Annotated[Annotated[float, _float("a")], _or_default("a"), _field("a")] = DEFAULTS.a
    b: Annotated[Annotated[float, _float("b")], _or_default("b"), _field("b")] = DEFAULTS.b
    m: Annotated[Annotated[int, _integer("m")], _or_default("m"), _field("m")] = DEFAULTS.m
    n: Annotated[Annotated[int, _integer("n")], _or_default("n"), _field("n")] = DEFAULTS.n

    def request(self) -> TheoryRequest:
        """Return the request to the simulator."""
        return TheoryRequest(**self.model_dump())

    def changed(self) -> dict[str, str]:
        """Return the parameters that differ from their defaults, as text."""
        return {
            name: f"{value:.12g}"
            for name, value in self.model_dump().items()
            if value != _DEFAULTS[name]
        }
