"""Numbers of JSON requests: `true` is refused, though bool is a kind of int in Python."""

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationInfo, field_validator


def _leaf_types(annotation: Any) -> Iterator[Any]:
    inside = [part for part in get_args(annotation) if not isinstance(part, str | int)]
    if not inside:
        yield annotation
    for part in inside:
        yield from _leaf_types(part)


def _takes_numbers(annotation: Any) -> bool:
    """Return whether a field takes only numbers, lists of numbers, or null."""
    types = {leaf for leaf in _leaf_types(annotation) if isinstance(leaf, type)}
    return bool(types & {int, float}) and types <= {int, float, NoneType}


def _has(value: Any, kinds: tuple[type, ...]) -> bool:
    stack = [value]  # no recursion: a request may be nested to any depth
    while stack:
        item = stack.pop()
        if isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, kinds):
            return True
    return False


def number_check(*, allows_text: bool) -> Any:
    """Return a validator of all fields of a model that refuses `true` for a number.

    Args:
        allows_text: whether "1" is a number, as in forms and addresses.
    """
    refused = (bool,) if allows_text else (bool, str)

    def check(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if _takes_numbers(field.annotation) and _has(value, refused):
            raise ValueError("should be a number, not text or true or false")
        return value

    validator: Any = field_validator("*", mode="before")
    return validator(check)
