"""Form of a kind of job, made from its schema: fields, entered values and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from backend.errors import InvalidInputError, QuantaError
from backend.jobs.kinds.base import JobKind
from backend.read.stored_names import stored_names
from backend.schemas.parameters import field_schemas, field_title, former_names
from backend.store import data_files as files
from backend.store.database import Store

MAX_OPTIONS = 60
Widget = Literal["select", "number", "text"]
_BOOLEAN = (("true", "yes"), ("false", "no"))


@dataclass(frozen=True)
class FormField:
    """One field of a form.

    Attributes:
        is_list: several values, separated by commas.
        value: as it was entered.
        error: message about the entered value.
        options: (value, label) of a select.
        suggestions: completions of a text field.
    """

    name: str
    title: str
    hint: str
    widget: Widget
    is_required: bool
    is_list: bool
    value: str
    placeholder: str
    error: str
    options: tuple[tuple[str, str], ...]
    suggestions: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    step: str
    max_length: int


def list_choices(store: Store) -> dict[str, tuple[str, ...]]:
    """Return the stored names to choose from, by the source that schemas name."""
    names = stored_names(store)
    return {
        "suites": names.suites,
        "corpora": names.corpora,
        "models": names.models,
        "imports": files.list_import_files(store),
    }


def split_list(text: str) -> list[str]:
    """Return the values between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def use_current_names(kind: JobKind, fields: Mapping[str, str]) -> dict[str, str]:
    """Return fields with former names of parameters replaced."""
    former = former_names(kind.schema)
    return {former.get(name, name): text for name, text in fields.items()}


def parse_form(kind: JobKind, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a form's fields as a request; empty fields are left out, lists are split."""
    request: dict[str, Any] = {}
    fields = use_current_names(kind, fields)
    for name, schema in field_schemas(kind.schema).items():
        if text := fields.get(name):
            request[name] = split_list(text) if schema.get("type") == "array" else text
    return request


def format_values(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as text for a form."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return {name: text(value) for name, value in params.items()}


def field_errors(kind: JobKind, request: Mapping[str, Any]) -> dict[str, str]:
    """Return the errors of a request by field; "" is for the whole form."""
    try:
        kind.schema.model_validate(dict(request))
    except ValidationError as error:
        errors: dict[str, str] = {}
        for fault in error.errors():
            name = str(fault["loc"][0]) if fault["loc"] else ""
            message = fault["msg"].removeprefix("Value error, ")
            if len(fault["loc"]) > 1:
                message = f"value {int(fault['loc'][1]) + 1}: {message}"
            errors.setdefault(name, "Is needed" if fault["type"] == "missing" else message)
        return errors
    return {}


def error_by_field(error: QuantaError, fields: Mapping[str, str]) -> dict[str, str]:
    """Return an error by the field that it is about; "" if it is about none of them.

    An unknown name ends the message: `suite 'x'`, `model s1 has no step 7`.
    """
    message = f"{error.problem}. {error.remedy}"
    if isinstance(error, InvalidInputError) and error.parameter:
        return {error.parameter: message}
    singular = {"models": "model", "steps": "step"}
    for name, value in reversed(list(fields.items())):
        for part in split_list(value):
            endings = (f"{singular.get(name, name)} {part!r}", f"{singular.get(name, name)} {part}")
            if error.problem.endswith(endings):
                return {name: message}
    return {"": message}


def form_fields(
    kind: JobKind,
    choices: Mapping[str, Sequence[str]],
    values: Mapping[str, str],
    errors: Mapping[str, str],
) -> list[FormField]:
    """Return the fields of a kind's form; `choices` is the result of `list_choices`."""
    return [
        _form_field(name, schema, choices, values.get(name, ""), errors.get(name, ""))
        for name, schema in field_schemas(kind.schema).items()
    ]


def _form_field(
    name: str,
    schema: Mapping[str, Any],
    choices: Mapping[str, Sequence[str]],
    value: str,
    error: str,
) -> FormField:
    is_list, is_required = schema.get("type") == "array", bool(schema["required"])
    item = {**schema, **schema["items"]} if is_list else schema
    suggestions = tuple(item.get("enum", ())) if is_list else ()
    suggestions = suggestions or tuple(choices.get(item.get("from", ""), ()))
    options = () if is_list else _options(item, suggestions, is_required, value)
    is_number = not is_list and item.get("type") in {"integer", "number"}
    hint = schema.get("description", "")
    if is_list:
        hint = f"{hint}; several with commas between" if hint else "Several with commas between"
    default = _default(schema)
    example = (
        "e.g. " + format_values({"": schema["examples"][0]})[""] if "examples" in schema else ""
    )
    return FormField(
        name=name,
        title=field_title(name, schema),
        hint=hint,
        widget="select" if options else "number" if is_number else "text",
        is_required=is_required,
        is_list=is_list,
        value=value or (default if options else ""),
        placeholder=default or example,
        error=error,
        options=options,
        suggestions=() if options else suggestions,
        minimum=item.get("minimum", item.get("exclusiveMinimum")) if is_number else None,
        maximum=item.get("maximum") if is_number else None,
        step="1" if item.get("type") == "integer" else "any",
        max_length=20_000 if is_list else int(item.get("maxLength", 200)),
    )


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, []) else format_values({"": default})[""]


def _options(
    schema: Mapping[str, Any], choices: Sequence[str], is_required: bool, value: str
) -> tuple[tuple[str, str], ...]:
    """Return the options of a select; none where text is typed instead."""
    if schema.get("type") == "boolean":
        return _BOOLEAN
    if "enum" in schema:
        values = [str(choice) for choice in schema["enum"]]
    elif schema.get("from") in {"suites", "corpora"} and 0 < len(choices) <= MAX_OPTIONS:
        values = list(choices)
    else:
        return ()
    if value and value not in values:
        values.append(value)  # an invalid value stays selected, with its error beside it
    if schema.get("default") is None and (not is_required or "enum" in schema):
        values.insert(0, "")
    empty = "choose…" if is_required else "–"
    return tuple((choice, choice or empty) for choice in values)
