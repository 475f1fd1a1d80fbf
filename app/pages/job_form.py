"""The form of a kind of jobs, from its schema: fields, what was entered, what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from backend.errors import InvalidInputError, QuantaError
from backend.jobs.kinds.base import JobKind
from backend.read.stored_names import stored_names
from backend.store import data_files as files
from backend.store.database import Store

MAX_OPTIONS = 60
Widget = Literal["select", "number", "text"]
_BOOLEAN = (("true", "yes"), ("false", "no"))


@dataclass(frozen=True)
class FormField:
    """One field: `value` as it was entered, `error` what is wrong with it.

    `options` are (value, words) to choose from, `suggestions` what may be typed; `is_list` takes
    several, cut at commas.
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


def choices(store: Store) -> dict[str, tuple[str, ...]]:
    """Return what there is to choose from, by the place that schemas name."""
    names = stored_names(store)
    return {
        "suites": names.suites,
        "corpora": names.corpora,
        "models": names.models,
        "imports": files.list_import_files(store),
    }


def cut(text: str) -> list[str]:
    """Return what is between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema says of a parameter, that it may be left out aside."""
    own = dict(about)
    for option in own.pop("anyOf", ()):
        if option.get("type") != "null":
            own = {**option, **own}
    return own


def given(kind: JobKind, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return a form's fields as parameters; empty ones are left out, lists are cut at commas."""
    found: dict[str, Any] = {}
    for name, about in kind.schema.model_json_schema()["properties"].items():
        if text := fields.get(name):
            found[name] = cut(text) if _facts(about).get("type") == "array" else text
    return found


def entered(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as they are entered into a form."""

    def words(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return {name: words(value) for name, value in parameters.items()}


def faults(kind: JobKind, asked: Mapping[str, Any]) -> dict[str, str]:
    """Return what the schema refuses, by the name of the field; "" is for the whole."""
    try:
        kind.schema.model_validate(dict(asked))
    except ValidationError as error:
        found: dict[str, str] = {}
        for fault in error.errors():
            name = str(fault["loc"][0]) if fault["loc"] else ""
            words = fault["msg"].removeprefix("Value error, ")
            if len(fault["loc"]) > 1:
                words = f"value {int(fault['loc'][1]) + 1}: {words}"
            found.setdefault(name, "Is needed" if fault["type"] == "missing" else words)
        return found
    return {}


def fault_of(error: QuantaError, fields: Mapping[str, str]) -> dict[str, str]:
    """Return a refusal by the name of the field that it is about; "" if it is about none of them.

    What is not found is named by its own words: `suite 'x'`, `model s1 has no step 7`.
    """
    words = f"{error.problem}. {error.remedy}"
    if isinstance(error, InvalidInputError) and error.parameter:
        return {error.parameter: words}
    singular = {"models": "model", "steps": "step"}
    for name, value in reversed(list(fields.items())):
        for part in cut(value):
            known = (f"{singular.get(name, name)} {part!r}", f"{singular.get(name, name)} {part}")
            if error.problem.endswith(known):
                return {name: words}
    return {"": words}


def fields_of(
    kind: JobKind,
    offered: Mapping[str, Sequence[str]],
    values: Mapping[str, str],
    errors: Mapping[str, str],
) -> list[FormField]:
    """Return the fields of a kind's form.

    Args:
        kind: whose schema it is.
        offered: what there is to choose from, by place (`choices`).
        values: what was entered.
        errors: what is wrong with it, by name.
    """
    schema = kind.schema.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        _field(name, _facts(about), name in required, offered, values.get(name, ""), errors)
        for name, about in schema["properties"].items()
    ]


def _field(
    name: str,
    about: Mapping[str, Any],
    is_required: bool,
    offered: Mapping[str, Sequence[str]],
    value: str,
    errors: Mapping[str, str],
) -> FormField:
    is_list = about.get("type") == "array"
    one = {**about, **about["items"]} if is_list else about
    suggestions = tuple(one.get("enum", ())) if is_list else ()
    suggestions = suggestions or tuple(offered.get(one.get("from", ""), ()))
    options = () if is_list else _options(one, suggestions, is_required, value)
    is_number = not is_list and one.get("type") in {"integer", "number"}
    hint = about.get("description", "")
    if is_list:
        hint = f"{hint}; several with commas between" if hint else "Several with commas between"
    return FormField(
        name=name,
        title=about.get("title", name),
        hint=hint,
        widget="select" if options else "number" if is_number else "text",
        is_required=is_required,
        is_list=is_list,
        value=value or (_default(about) if options else ""),
        placeholder=_default(about) or ("e.g. " + _example(about) if "examples" in about else ""),
        error=errors.get(name, ""),
        options=options,
        suggestions=() if options else suggestions,
        minimum=one.get("minimum", one.get("exclusiveMinimum")) if is_number else None,
        maximum=one.get("maximum") if is_number else None,
        step="1" if one.get("type") == "integer" else "any",
        max_length=20_000 if is_list else int(one.get("maxLength", 200)),
    )


def _default(about: Mapping[str, Any]) -> str:
    default = about.get("default")
    return "" if default in (None, []) else entered({"": default})[""]


def _example(about: Mapping[str, Any]) -> str:
    return entered({"": about["examples"][0]})[""]


def _options(
    about: Mapping[str, Any], offered: Sequence[str], is_required: bool, value: str
) -> tuple[tuple[str, str], ...]:
    """Return what a select offers, nothing where one types instead."""
    if about.get("type") == "boolean":
        return _BOOLEAN
    if "enum" in about:
        found = [str(one) for one in about["enum"]]
    elif about.get("from") in {"suites", "corpora"} and 0 < len(offered) <= MAX_OPTIONS:
        found = list(offered)
    else:
        return ()
    if value and value not in found:
        found.append(value)  # what was entered stays, and its error beside it
    if about.get("default") is None and (not is_required or "enum" in about):
        found.insert(0, "")
    empty = "choose…" if is_required else "–"
    return tuple((one, one or empty) for one in found)
