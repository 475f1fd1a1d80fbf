"""Settings of networks: dataclasses of numbers, one a network."""

import math
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_numbers(setting: "DataclassInstance") -> None:
    """Raise ValueError, naming the field, for a number that is negative or not finite."""
    for one in fields(setting):
        value = getattr(setting, one.name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{one.name} is {value}, want a finite number >= 0")
