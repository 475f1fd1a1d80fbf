"""Options of commands, made from the declaration of parameters in `backend.schemas`."""

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from types import MappingProxyType
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
    names: Mapping[str, str] = MappingProxyType({}),
    former: Mapping[str, str] = MappingProxyType({}),
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[Command], Command]:
    """Give a command an option for every field of a model, and pass it the validated model.

    The command takes the model as `params`, beside options of its own. A list takes several
    values: the option is repeated, or values are separated by commas; numbers may be ranges.

    Args:
        model: the parameters.
        arguments: fields that are arguments instead of options.
        names: option of a field, where it is not the field's name.
        former: name of a hidden former option -> field.
        defaults: default of a field that a request must give.
    """
    schemas, options = field_schemas(model), []
    for name, schema in schemas.items():
        default = defaults.get(name, model.model_fields[name].get_default())
        is_argument, text = name in arguments, _help(schema)
        declared = [names[name]] if name in names else []
        info = typer.Argument(help=text) if is_argument else typer.Option(*declared, help=text)
        options.append(_option(name, schema, info, default))
    options += [
        _option(old, schemas[name], typer.Option(hidden=True), None) for old, name in former.items()
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(**values: Any) -> None:
            request = {}
            for option in (*schemas, *former):
                if (value := values.pop(option)) is not None:
                    name = former.get(option, option)
                    flag = names.get(option, f"--{option.replace('_', '-')}")
                    request[name] = _parse(value, schemas[name], flag)
            command(params=model.parse(request), **values)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "params"]
        signature = inspect.Signature([*options, *(p.replace(kind=p.KEYWORD_ONLY) for p in own)])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return run

    return decorate


def _option(name: str, schema: Mapping[str, Any], info: Any, default: Any) -> inspect.Parameter:
    """Return a keyword of the command; without a default the option is required."""
    kind: Any = list[str] if schema["type"] == "array" else _TYPES[schema["type"]]
    if default is None or isinstance(default, list):
        kind, default = kind | None, None
    elif kind == list[str]:
        default = [default]
    if default is PydanticUndefined:
        default = inspect.Parameter.empty
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _parse(value: Any, schema: Mapping[str, Any], option: str) -> Any:
    if schema["type"] != "array":
        return value
    if schema["items"].get("type") == "integer":
        return [n for text in value if text for n in parse_numbers(text, option)]
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
