"""Checks of network settings, which are dataclasses of numbers."""

import math
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_numbers(setting: "DataclassInstance") -> None:
    """Raise ValueError, naming the field, for a number that is negative or not finite."""
    for field in fields(setting):
        value = getattr(setting, field.name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{field.name} is {value}, want a finite number >= 0")
