"""JSON to frozen dataclasses, by their annotations."""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from app.client.errors import UnexpectedAnswerError

Value = TypeVar("Value")
Decoder = Callable[[Any], Any]


def decoded(kind: type[Value], document: Any) -> Value:
    """Return a JSON document as a `kind`; fields that it does not know are left out.

    Raises:
        UnexpectedAnswerError: a field is missing, or the document has another shape.
    """
    try:
        return cast(Value, _decoder(cast(Any, kind))(document))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise UnexpectedAnswerError(
            f"the answer is no {kind.__name__} as this client knows it ({error}). "
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
        key, value = (_decoder(one) for one in arguments)
        if arguments[0] is int:
            key = int  # names in JSON are strings
        return lambda document: {key(k): value(v) for k, v in document.items()}
    if origin in (Union, types.UnionType):
        return _of_union(arguments)
    return _as_it_is


def _as_it_is(document: Any) -> Any:
    return document


def _of_tuple(arguments: tuple[Any, ...]) -> Decoder:
    if arguments[-1] is Ellipsis:
        item = _decoder(arguments[0])
        if item is _as_it_is:
            return tuple
        return lambda document: tuple(item(one) for one in document)
    items = [_decoder(one) for one in arguments]
    return lambda document: tuple(item(one) for item, one in zip(items, document, strict=True))


def _of_union(arguments: tuple[Any, ...]) -> Decoder:
    others = [_decoder(one) for one in arguments if one is not types.NoneType]
    structured = [one for one in others if one is not _as_it_is]
    if not structured:
        return _as_it_is
    assert len(others) == 1, f"which of {arguments} a value is cannot be seen in JSON"
    (only,) = structured
    return lambda document: None if document is None else only(document)


def _of_dataclass(kind: type) -> Decoder:
    hints = get_type_hints(kind)
    decoders = {one.name: _decoder(hints[one.name]) for one in fields(kind)}
    needed = {
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING
    }

    def decode(document: Any) -> Any:
        missing = needed - document.keys()
        if missing:
            raise ValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
        known = {name: item(document[name]) for name, item in decoders.items() if name in document}
        return kind(**known)

    return decode
