"""Query parameters of the pages of experiments; an empty field of a form counts as not given."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.requests.pages import Blank
from app.web.templating import query_string
from backend.experiments.grokking.views import Threshold
from backend.experiments.omnigrok.views import SphereLoss
from backend.schemas.parameters import MAX_INTEGER
from compute.grokking.phases import PUBLISHED_GAP

MAX_TASK_LINES = 60
PRINCIPAL_COMPONENTS = "pc"

ExperimentId = Annotated[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None, Blank]
Number = Annotated[Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None, Blank]
Size = Annotated[Annotated[int, Field(ge=1, le=MAX_INTEGER)] | None, Blank]
Gap = Annotated[int, Field(ge=1, le=MAX_INTEGER)]


class PageQuery(BaseModel):
    """Query of a page; unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    def changed(self, **changes: Any) -> str:
        """Return the query string with some parameters replaced; defaults are left out."""
        return query_string(**{**self.model_dump(exclude_defaults=True), **changes})


class RunQuery(PageQuery):
    """A run and one of its cells."""

    run: ExperimentId = None
    cell: Number = None


class GrokkingQuery(RunQuery):
    """A phase diagram at a gap, a second one to compare with, and a critical fraction."""

    gap: Gap = PUBLISHED_GAP
    of: Threshold = "test"
    cmp: ExperimentId = None
    fraction: ExperimentId = None


class OmnigrokQuery(RunQuery):
    """A run of Omnigrok at one training-set size, and the loss of its landscape."""

    n_train: Size = None
    loss: Annotated[SphereLoss | None, Blank] = None


class ParityQuery(RunQuery):
    """A run of sparse parity, and the number of subtasks that are drawn as lines."""

    tasks: Annotated[int, Field(ge=1, le=MAX_TASK_LINES)] = 12


class CircuitQuery(PageQuery):
    """A step of a modular adder; frequency (or `pc`), head and neuron of its circuit."""

    step: Number = None
    k: Annotated[Annotated[str, Field(pattern=r"^(pc|[1-9][0-9]{0,2})$")] | None, Blank] = None
    head: Number = None
    neuron: Number = None


class ModularAdditionQuery(CircuitQuery, RunQuery):
    """A run of modular addition, one of its networks, and what to show of its circuit."""
