"""What requests for jobs are made of: the base of their schemas, and fields that several have."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas.json_numbers import number_check

MAX_INTEGER = 2**31 - 1
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
MODEL_PATTERN = r"^[A-Za-z0-9._/-]{1,128}$"
NO_NUL = r"^[^\x00]*$"


def _from(place: str) -> dict[str, Any]:
    """Say where a form finds what can be chosen."""
    return {"from": place}


Number = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ModelName = Annotated[str, Field(pattern=MODEL_PATTERN, json_schema_extra=_from("models"))]
SuiteName = Annotated[
    str, Field(pattern=NAME_PATTERN, examples=["mini"], json_schema_extra=_from("suites"))
]
CorpusName = Annotated[
    str, Field(pattern=NAME_PATTERN, examples=["demo"], json_schema_extra=_from("corpora"))
]
File = Annotated[
    str, Field(min_length=1, max_length=300, pattern=NO_NUL, json_schema_extra=_from("imports"))
]
"""A path below `imports` in the data directory."""


class Parameters(BaseModel):
    """What a request may say of a kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _numbers = number_check(allows_text=True)
