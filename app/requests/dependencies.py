"""What routes ask for: the store, and parameters with their bounds.

Every integer is bounded to what SQL integers hold, every string in length.
"""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import Field

from backend.store.database import Store

MAX_INTEGER = 2**31 - 1
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
MODEL_PATTERN = r"^[A-Za-z0-9._/-]{1,128}$"
CURSOR_PATTERN = r"^[A-Za-z0-9._~:,=+/-]{0,200}$"


def get_store(request: Request) -> Store:
    """Return the application's store."""
    store: Store = request.app.state.store
    return store


StoreDep = Annotated[Store, Depends(get_store)]

Id = Annotated[int, Path(ge=0, le=MAX_INTEGER, examples=[1])]
CorpusName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Name of a corpus", examples=["demo"])
]
SuiteName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Name of a suite", examples=["mini"])
]
DocumentIndex = Annotated[
    int,
    Path(
        ge=0,
        le=MAX_INTEGER,
        description="Number of the document in its corpus, from 0",
        examples=[0],
    ),
]
PredictionIndex = Annotated[
    int,
    Path(
        ge=0,
        le=MAX_INTEGER,
        description="Canonical number of the prediction, from 0",
        examples=[4711],
    ),
]

CorpusQuery = Annotated[
    str, Query(pattern=NAME_PATTERN, description="Name of a corpus", examples=["demo"])
]
OptionalCorpus = Annotated[
    str | None, Query(pattern=NAME_PATTERN, description="Name of a corpus; default: the first")
]
SuiteQuery = Annotated[
    str, Query(pattern=NAME_PATTERN, description="Name of a suite", examples=["mini"])
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
    str | None,
    Query(pattern=CURSOR_PATTERN, description="`next_cursor` of the page before this one"),
]

OtherModel = Annotated[
    str | None,
    Query(
        pattern=MODEL_PATTERN,
        description="Whose loss is subtracted (difference); default: the next smaller model",
    ),
]
OtherStep = Annotated[
    int | None,
    Query(ge=0, le=MAX_INTEGER, description="Its step (difference); default: its last"),
]
Target = Annotated[
    str | None,
    Query(
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="A token (p_token): its text, with ⏎ ⇥ ␠ for what cannot be typed, or id:198",
    ),
]
ScaleEnd = Annotated[
    float | None,
    Query(allow_inf_nan=False, description="End of the colour scale; default: the measure's"),
]
Lock = Annotated[
    bool, Query(description="Keep the scale over documents, models and steps; false fits it")
]
LogScale = Annotated[
    bool,
    Query(description="Colours of p and p_token even in the logarithm; others have their own"),
]
ExperimentName = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{16}$",
        description="Id of an experiment: the first digits of its content key",
        examples=["0123456789abcdef"],
    ),
]
Cell = Annotated[
    int, Path(ge=0, le=MAX_INTEGER, description="Number of the cell, from 0", examples=[0])
]
KindName = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
JobId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Id of a job", examples=["j0123456789abcdef"]
    ),
]
MAX_EXPORT_ROWS = 20_000
