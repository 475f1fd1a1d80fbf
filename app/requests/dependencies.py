"""Dependencies of routes: the store, and path and query parameters with their bounds.

Integers are bounded to the range of SQL integers, strings in length.
"""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import Field

from backend.schemas.parameters import MAX_INTEGER, MODEL_PATTERN, NAME_PATTERN, NO_NUL
from backend.store.database import Store

CURSOR_PATTERN = r"^[A-Za-z0-9._~:,=+/-]{0,200}$"
_CORPUS: dict[str, Any] = {"pattern": NAME_PATTERN, "description": "Name of a corpus"}
_CORPUS["examples"] = ["demo"]
_SUITE: dict[str, Any] = {"pattern": NAME_PATTERN, "description": "Name of a suite"}
_SUITE["examples"] = ["mini"]


def _index(description: str, example: int) -> Any:
    return Path(ge=0, le=MAX_INTEGER, description=description, examples=[example])


def get_store(request: Request) -> Store:
    """Return the application's store."""
    store: Store = request.app.state.store
    return store


StoreDep = Annotated[Store, Depends(get_store)]

Id = Annotated[int, Path(ge=0, le=MAX_INTEGER, examples=[1])]
CorpusName = Annotated[str, Path(**_CORPUS)]
SuiteName = Annotated[str, Path(**_SUITE)]
DocumentIndex = Annotated[int, _index("Number of the document in its corpus, from 0", 0)]
PredictionIndex = Annotated[int, _index("Number of the prediction in its corpus, from 0", 4711)]
Cell = Annotated[int, _index("Number of the cell, from 0", 0)]

CorpusQuery = Annotated[str, Query(**_CORPUS)]
SuiteQuery = Annotated[str, Query(**_SUITE)]
OptionalCorpus = Annotated[
    str | None, Query(pattern=NAME_PATTERN, description="Name of a corpus; default: the first")
]
OptionalSuite = Annotated[
    str | None, Query(pattern=NAME_PATTERN, description="Name of a suite; default: the first")
]
OptionalModel = Annotated[
    str | None, Query(pattern=MODEL_PATTERN, description="Name of a model; default: the largest")
]
OptionalStep = Annotated[
    int | None, Query(ge=0, le=MAX_INTEGER, description="Training step; default: the last")
]
Cursor = Annotated[
    str | None, Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the previous page")
]

OtherModel = Annotated[
    str | None,
    Query(
        pattern=MODEL_PATTERN,
        description="Model of the loss to subtract (difference); default: the next smaller model",
    ),
]
OtherStep = Annotated[
    int | None,
    Query(
        ge=0, le=MAX_INTEGER, description="Step of `other_model` (difference); default: its last"
    ),
]
Target = Annotated[
    str | None,
    Query(
        max_length=200,
        pattern=NO_NUL,
        description="A token (p_token): its text, with ⏎ ⇥ ␠ for white space, or id:198",
    ),
]
ScaleEnd = Annotated[
    float | None,
    Query(allow_inf_nan=False, description="End of the colour scale; default: the measure's"),
]
Lock = Annotated[
    bool,
    Query(description="Same scale for all documents, models and steps (true) or fitted (false)"),
]
LogScale = Annotated[
    bool, Query(description="Log scale for p and p_token; ignored by other measures")
]
ExperimentName = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{16}$",
        description="Id of an experiment: the first 16 digits of its content key",
        examples=["0123456789abcdef"],
    ),
]
KindName = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
JobId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id of a job", examples=["j0123456789abcdef"]
    ),
]
MAX_EXPORT_ROWS = 20_000
