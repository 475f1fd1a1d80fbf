"""Numbers of JSON requests: `true` is none, though Python counts it as 1."""

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationInfo, field_validator


def _leaves(annotation: Any) -> Iterator[Any]:
    inside = [part for part in get_args(annotation) if not isinstance(part, str | int)]
    if not inside:
        yield annotation
    for part in inside:
        yield from _leaves(part)


def _takes_numbers(annotation: Any) -> bool:
    """Return whether a field takes numbers, or lists of them, and nothing else but null."""
    types = {leaf for leaf in _leaves(annotation) if isinstance(leaf, type)}
    return bool(types & {int, float}) and types <= {int, float, NoneType}


def _has(value: Any, kinds: tuple[type, ...]) -> bool:
    waiting = [value]  # no recursion: whoever sends the body chooses how deep it is nested
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, kinds):
            return True
    return False


def number_check(*, allows_text: bool) -> Any:
    """Return a validator of all fields of a model: where a number is wanted, `true` is refused.

    Args:
        allows_text: whether "1" is a number; forms and addresses have nothing else.
    """
    refused = (bool,) if allows_text else (bool, str)

    def check(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if _takes_numbers(field.annotation) and _has(value, refused):
            raise ValueError("a number is wanted, not text or true or false")
        return value

    validator: Any = field_validator("*", mode="before")
    return validator(check)
