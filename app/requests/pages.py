"""Query parameters of the pages; an empty form field takes the default."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from backend.corpora.heat import HeatRequest
from backend.corpora.views import Heat, Measure
from backend.quanta.cluster_list import ClusterSort
from backend.quanta.contexts import ContextOrder
from backend.schemas.parameters import MAX_INTEGER, MODEL_PATTERN, NAME_PATTERN, NO_NUL

ContextLength = Literal["32", "64", "128", "all"]
MAX_CONTEXT = 1024
MAX_COUNT = 1_000_000_000


EMPTY = {"type": "string", "maxLength": 0}


class EmptyAllowed(BeforeValidator):
    """Validator that accepts an empty form field, and documents that in the schema."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the value with the empty string beside it."""
        schema = handler(core)
        if schema.get("type") == "array":
            return {**schema, "items": {"anyOf": [schema["items"], EMPTY]}}
        kinds = schema.pop("anyOf", None)
        return {"anyOf": [*(kinds or [schema]), EMPTY], **(schema if kinds else {})}


def _blank(value: object) -> object:
    return None if value == "" else value


Blank = EmptyAllowed(_blank)
# Bounds apply to the number only, not to an empty field.
Count = Annotated[Annotated[int, Field(ge=0, le=MAX_COUNT)] | None, Blank]
Amount = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, Blank]
# PostgreSQL refuses NUL in text.
Name = Annotated[str | None, Query(max_length=200, pattern=NO_NUL)]

SuiteText = Annotated[Annotated[str, Field(pattern=NAME_PATTERN)] | None, Blank]
ModelText = Annotated[Annotated[str, Field(pattern=MODEL_PATTERN)] | None, Blank]
Step = Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank]
TargetText = Annotated[Annotated[str, Field(max_length=200, pattern=NO_NUL)] | None, Blank]


class HeatQuery(BaseModel):
    """Measure, checkpoint and colour scale of a document; `pos` is the focused token."""

    model_config = ConfigDict(extra="ignore")

    suite: SuiteText = None
    model: ModelText = None
    step: Step = None
    measure: Measure = "loss"
    other_model: ModelText = None
    other_step: Step = None
    target: TargetText = None
    lo: Amount = None
    hi: Amount = None
    lock: bool = True
    log: bool = False
    pos: Step = None

    def request(self) -> HeatRequest:
        """Return the request to the store."""
        scale: dict[str, Any] = {
            "low": self.lo,
            "high": self.hi,
            "is_locked": self.lock,
            "is_log": self.log,
        }
        params = self.model_dump(exclude={"lo", "hi", "lock", "log", "pos"})
        return HeatRequest(**params, **scale)

    @property
    def scale_kind(self) -> Literal["shared", "fitted", "own"]:
        """Origin of the colour scale: shared, fitted to the document, or set by the reader."""
        if self.lo is not None or self.hi is not None:
            return "own"
        return "shared" if self.lock else "fitted"

    def view_parameters(self, place: Heat | None) -> dict[str, object]:
        """Return the query parameters of this view at the checkpoint of `place`."""
        if place is None:
            return {}
        params = self.model_dump(exclude_defaults=True, exclude={"pos"})
        params |= {"suite": place.suite, "model": place.model, "step": place.step}
        if not self.lock:
            params["lock"] = "0"
        if self.log:
            params["log"] = "1"
        return {"measure": self.measure, **params}


class ClusterQuery(BaseModel):
    """Sort order and filters of the list of clusters."""

    model_config = ConfigDict(extra="ignore")

    sort: ClusterSort = "rank"
    descending: bool = False
    min_size: Count = None
    max_size: Count = None
    min_coherence: Amount = None
    max_coherence: Amount = None
    min_loss: Amount = None
    max_loss: Amount = None
    min_entropy: Amount = None
    max_entropy: Amount = None
    answer: Annotated[Annotated[str, Field(max_length=100)] | None, Blank] = None
    cursor: Annotated[str | None, Field(max_length=200)] = None

    def changed(self) -> dict[str, object]:
        """Return the parameters that differ from their defaults, without the cursor."""
        return self.model_dump(exclude_defaults=True, exclude={"cursor"})


class ContextQuery(BaseModel):
    """Contexts of a cluster: length, order, filters and colours."""

    model_config = ConfigDict(extra="ignore")

    ctx: ContextLength = "64"
    order: ContextOrder = "similarity"
    answer: Count = None
    last: Count = None
    colour: Literal["none", "loss"] = "none"
    cursor: Annotated[str | None, Field(max_length=200)] = None

    @property
    def context(self) -> int:
        """Number of tokens to show before the answer."""
        return MAX_CONTEXT if self.ctx == "all" else int(self.ctx)

    def filters(self) -> dict[str, Any]:
        """Return the parameters that select and order the contexts."""
        return {"context": self.context, **self.model_dump(include={"order", "answer", "last"})}

    def changed(self) -> dict[str, object]:
        """Return the parameters that differ from their defaults, without the cursor."""
        return self.model_dump(exclude_defaults=True, exclude={"cursor"})
