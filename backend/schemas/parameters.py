"""Base of the parameters of jobs and stages, and types of fields that several have.

A parameter is declared once, with default, bounds, title and description. Job forms, request
bodies, OpenAPI, command-line options and the keys of jobs are made from the declaration.
"""

from collections.abc import Mapping
from reprlib import Repr
from typing import Annotated, Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from backend.errors import InvalidInputError
from backend.schemas.json_numbers import number_check

MAX_INTEGER = 2**31 - 1
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
MODEL_PATTERN = r"^[A-Za-z0-9._/-]{1,128}$"
NO_NUL = r"^[^\x00]*$"


_short = Repr()  # a request may be long, and nested deeply
_short.maxlevel, _short.maxstring = 2, 60


def _choices(source: str) -> dict[str, Any]:
    """Return the JSON schema that names where a form finds its choices."""
    return {"from": source}


def with_unit(unit: str) -> dict[str, Any]:
    """Return the JSON schema of a unit, which forms and help texts show."""
    return {"unit": unit}


Number = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ModelName = Annotated[str, Field(pattern=MODEL_PATTERN, json_schema_extra=_choices("models"))]
SuiteName = Annotated[
    str, Field(pattern=NAME_PATTERN, examples=["mini"], json_schema_extra=_choices("suites"))
]
CorpusName = Annotated[
    str, Field(pattern=NAME_PATTERN, examples=["demo"], json_schema_extra=_choices("corpora"))
]
File = Annotated[
    str, Field(min_length=1, max_length=300, pattern=NO_NUL, json_schema_extra=_choices("imports"))
]
"""A path below `imports` in the data directory."""


class Parameters(BaseModel):
    """Parameters of a kind of job, or of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _numbers = number_check(allows_text=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return validated parameters.

        Raises:
            InvalidInputError: a parameter is missing, unknown or out of range; the message names
                it, its value and the bounds.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _invalid_input(error.errors()[0], values) from error


def _invalid_input(fault: Any, values: Mapping[str, Any]) -> InvalidInputError:
    """Return the first fault of a validation as an error that names value and remedy."""
    name, *index = fault["loc"] or ("parameters",)
    name, message = str(name), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing" or (name in values and values[name] in (None, "")):
        return InvalidInputError(f"{name} is missing", f"Send {name}", name)
    if fault["type"] == "extra_forbidden":
        return InvalidInputError(f"{name} is not a parameter", "Leave it out", name)
    if fault["loc"]:
        where = f"{name}[{index[0]}]" if index else name
        return InvalidInputError(f"{where} is {_short.repr(fault['input'])}", message, name)
    return InvalidInputError(message, "Correct the parameters", name)


def former_names(model: type[Parameters]) -> dict[str, str]:
    """Return former name -> name of the parameters that were renamed."""
    choices = {name: field.validation_alias for name, field in model.model_fields.items()}
    return {
        str(former): name
        for name, alias in choices.items()
        if isinstance(alias, AliasChoices)
        for former in alias.choices[1:]
    }


def field_schemas(model: type[Parameters]) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each field; that of an optional field is the schema of its value.

    A required field has "required": True.
    """
    schema = model.model_json_schema()
    fields = {}
    for name, own in schema["properties"].items():
        facts = dict(own)
        for option in facts.pop("anyOf", ()):
            if option.get("type") != "null":
                facts = {**option, **facts}
        fields[name] = facts | {"required": name in schema.get("required", ())}
    return fields


def field_title(name: str, schema: Mapping[str, Any]) -> str:
    """Return the title of a field with its unit; the name of an unknown field."""
    title = str(schema.get("title", name))
    return f"{title} ({schema['unit']})" if "unit" in schema else title
