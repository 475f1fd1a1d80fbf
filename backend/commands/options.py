"""Options of commands, made from the declaration of parameters in `backend.schemas`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic_core import PydanticUndefined

from backend.commands.common import parse_numbers
from backend.schemas.parameters import MAX_INTEGER, Parameters, field_schemas

Command = Callable[..., None]
_TYPES: dict[str, Any] = {"boolean": bool, "integer": int, "number": float, "string": str}


def parameter_options(
    model: type[Parameters],
    *,
    arguments: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    former: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Command], Command]:
    """Give a command an option for every field of a model, and pass it the validated model.

    The command takes the model as `params`, beside options of its own. A list takes several
    values: the option is repeated, or values are separated by commas; numbers may be ranges.

    Args:
        model: the parameters.
        arguments: fields that are arguments instead of options.
        names: option of a field, where it is not the field's name.
        former: hidden option -> field.
        defaults: default of a field that a request must give.
    """
    names, former, defaults = names or {}, former or {}, defaults or {}
    schemas = field_schemas(model)
    types = {name: _type(schema) for name, schema in schemas.items()}

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "params"]
        fields = []
        for name, schema in schemas.items():
            default = defaults.get(name, model.model_fields[name].get_default())
            words = _help(schema)
            info = (
                typer.Argument(help=words)
                if name in arguments
                else typer.Option(*filter(None, [names.get(name)]), help=words)
            )
            fields.append(_parameter(name, types[name], info, default))
        for option, name in former.items():
            info = typer.Option(option, hidden=True)
            fields.append(_parameter(_variable(option), types[name], info, None))

        @wraps(command)
        def run(**values: Any) -> None:
            request = {name: _value(values.pop(name), schemas[name], name) for name in schemas}
            for option, name in former.items():
                if (value := values.pop(_variable(option))) is not None:
                    request[name] = _value(value, schemas[name], name)
            present = {name: value for name, value in request.items() if value is not None}
            command(params=model.parse(present), **values)

        signature = inspect.Signature(fields + [p.replace(kind=p.KEYWORD_ONLY) for p in own])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return run

    return decorate


def _variable(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _type(schema: Mapping[str, Any]) -> Any:
    return list[str] if schema["type"] == "array" else _TYPES[schema["type"]]


def _parameter(name: str, kind: Any, info: Any, default: Any) -> inspect.Parameter:
    """Return a keyword of the command; without a default the option must be given."""
    if default is None or isinstance(default, list):
        kind, default = kind | None, None
    elif kind == list[str]:
        default = [default]
    if default is PydanticUndefined:
        default = inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _value(value: Any, schema: Mapping[str, Any], name: str) -> Any:
    if schema["type"] != "array" or value is None:
        return value
    if schema["items"].get("type") == "integer":
        return [n for text in value if text for n in parse_numbers(text, name)]
    return [part.strip() for text in value for part in text.split(",") if part.strip()]


def _help(schema: Mapping[str, Any]) -> str:
    """Return one sentence: title, unit, description, bounds and form of a list."""
    words = schema["title"] + (f" in {schema['unit']}" if "unit" in schema else "")
    if description := schema.get("description"):
        words = f"{words}: {description[0].lower()}{description[1:]}"
    low, above, high = (schema.get(n) for n in ("minimum", "exclusiveMinimum", "maximum"))
    lower = f"above {above:g}" if above is not None else f"{low:,}" if low is not None else ""
    if high not in (None, MAX_INTEGER):
        words += f" ({lower} to {high:,})"
    if schema["type"] == "array" and schema.get("maxItems") != 1:
        is_number = schema["items"].get("type") == "integer"
        words += "; such as 10,20 or 10-100:10" if is_number else "; several with commas between"
    return f"{words}."
