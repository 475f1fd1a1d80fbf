"""Decode JSON into frozen dataclasses by their annotations."""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from app.client.errors import UnexpectedAnswerError

Value = TypeVar("Value")
Decoder = Callable[[Any], Any]


def decode(kind: type[Value], document: Any) -> Value:
    """Decode a JSON document as a `kind`; unknown fields are ignored.

    Raises:
        UnexpectedAnswerError: a field is missing, or the document has another shape.
    """
    try:
        return cast(Value, _decoder(cast(Any, kind))(document))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise UnexpectedAnswerError(
            f"the response is not a {kind.__name__} of this client's version ({error}). "
            "Install the server's version of quanta-explorer"
        ) from error


@cache
def _decoder(kind: Any) -> Decoder:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _of_dataclass(cast(type, kind))
    if origin is tuple:
        return _of_tuple(arguments)
    if origin is dict:
        key, value = (_decoder(argument) for argument in arguments)
        if arguments[0] is int:
            key = int  # names in JSON are strings
        return lambda document: {key(k): value(v) for k, v in document.items()}
    if origin in (Union, types.UnionType):
        return _of_union(arguments)
    return _identity


def _identity(document: Any) -> Any:
    return document


def _of_tuple(arguments: tuple[Any, ...]) -> Decoder:
    if arguments[-1] is Ellipsis:
        item = _decoder(arguments[0])
        if item is _identity:
            return tuple
        return lambda document: tuple(item(value) for value in document)
    items = [_decoder(argument) for argument in arguments]
    return lambda document: tuple(item(v) for item, v in zip(items, document, strict=True))


def _of_union(arguments: tuple[Any, ...]) -> Decoder:
    decoders = [_decoder(a) for a in arguments if a is not types.NoneType]
    structured = [decoder for decoder in decoders if decoder is not _identity]
    if not structured:
        return _identity
    assert len(decoders) == 1, f"JSON does not tell which of {arguments} a value is"
    (only,) = structured
    return lambda document: None if document is None else only(document)


def _of_dataclass(kind: type) -> Decoder:
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
    required = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }

    def decode(document: Any) -> Any:
        missing = required - document.keys()
        if missing:
            raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
        values = {name: item(document[name]) for name, item in decoders.items() if name in document}
        return kind(**values)

    return decode
