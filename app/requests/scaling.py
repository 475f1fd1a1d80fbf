"""Query parameters of the Scaling page, its figures and its API route."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.figures.scaling import Unit
from backend.read.views import Axis
from backend.scaling.views import FitKind, ScalingRequest
from backend.schemas.parameters import MODEL_PATTERN, NAME_PATTERN

SUBSET_PATTERN = r"^(all|[a-z][a-z-]{0,19}|cluster:[0-9]{1,9})$"


def _blank(value: object) -> object:
    return None if value == "" else value


Blank = BeforeValidator(_blank)
Bound = Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Blank]
FitBound = Annotated[
    Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)] | None,
    Query(description="Bound of the points in the fit, in N or steps"),
]
FitParameter = Annotated[
    FitKind, Query(description="power: A·x^−α; bnsl: a broken neural scaling law; none")
]
SubsetParameter = Annotated[
    str,
    Query(
        pattern=SUBSET_PATTERN,
        description="Predictions that `mean_nats` and the fits cover: all, a class of curves, or "
        "cluster:ID",
        examples=["monogenic"],
    ),
]


class _ScalingParameters(BaseModel):
    """Axis, unit, fit and subset of a scaling curve."""

    model_config = ConfigDict(extra="ignore")

    axis: Axis = "N"
    model: Annotated[Annotated[str, Field(pattern=MODEL_PATTERN)] | None, Blank] = None
    unit: Unit = "nats"
    fit: FitKind = "power"
    first: Bound = None
    last: Bound = None
    subset: Annotated[
        Annotated[str, Field(pattern=SUBSET_PATTERN)], BeforeValidator(lambda s: s or "all")
    ] = "all"

    def request(self, suite: str, corpus: str) -> ScalingRequest:
        """Return the request for a suite on a corpus."""
        params = self.model_dump(exclude={"unit", "suite", "corpus"})
        return ScalingRequest(suite=suite, corpus=corpus, **params)


class ScalingFiguresQuery(_ScalingParameters):
    """Parameters of the figures."""

    suite: Annotated[str, Field(pattern=NAME_PATTERN)]
    corpus: Annotated[str, Field(pattern=NAME_PATTERN)]


class ScalingQuery(_ScalingParameters):
    """Parameters of the page; suite and corpus default to the first with an evaluation."""

    suite: Annotated[Annotated[str, Field(pattern=NAME_PATTERN)] | None, Blank] = None
    corpus: Annotated[Annotated[str, Field(pattern=NAME_PATTERN)] | None, Blank] = None

    def changed(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters that differ from their defaults, updated by `changes`."""
        return {**self.model_dump(exclude_defaults=True), **changes}
