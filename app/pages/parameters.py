"""Query parameters of the pages; an empty field of a form counts as not given."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from backend.queries.clusterings import Sort
from backend.queries.clusters import Order

ContextLength = Literal["32", "64", "128", "all"]
MAX_CONTEXT = 1024
MAX_COUNT = 1_000_000_000


def _blank(value: object) -> object:
    return None if value == "" else value


Blank = BeforeValidator(_blank)
# Bounds are on the number alone: they cannot be asked of an empty field.
Count = Annotated[Annotated[int, Field(ge=0, le=MAX_COUNT)] | None, Blank]
Amount = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, Blank]
# No zero byte: PostgreSQL refuses it in text.
Name = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


class ClusterQuery(BaseModel):
    """What the list of clusters can be sorted and filtered by."""

    model_config = ConfigDict(extra="ignore")

    sort: Sort = "rank"
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
    """Which contexts of a cluster to show, and how."""

    model_config = ConfigDict(extra="ignore")

    ctx: ContextLength = "64"
    order: Order = "similarity"
    answer: Count = None
    last: Count = None
    colour: Literal["none", "loss"] = "none"
    cursor: Annotated[str | None, Field(max_length=200)] = None

    @property
    def context(self) -> int:
        """Number of tokens to show before the answer."""
        return MAX_CONTEXT if self.ctx == "all" else int(self.ctx)

    def changed(self) -> dict[str, object]:
        """Return the parameters that differ from their defaults, without the cursor."""
        return self.model_dump(exclude_defaults=True, exclude={"cursor"})
