"""Read losses computed elsewhere: the array, its columns, and the values that can be stored.

The array is a `.npy` of shape (predictions, models), memory-mapped and never unpickled; the columns
are JSON. Errors name the invalid value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.exchange.json_files import read_json, short_repr
from backend.schemas import names
from backend.store.arrays import MAX_LOSS_NATS

MAX_STEP = 2**31 - 1
MAX_PARAMETERS = 2**63 - 1


@dataclass(frozen=True)
class ModelEntry:
    """One column of the array: a model of N = `nonembedding_parameters` after `step` steps."""

    name: str
    nonembedding_parameters: int
    step: int

    @property
    def title(self) -> str:
        """Name of the column in messages."""
        return f"{self.name} step {self.step}"


def _integer(value: object, minimum: int, maximum: int, where: str) -> int:
    # Some programs write integers as 1.5e7.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not minimum <= number <= maximum:
        raise InvalidInputError(
            f"{where} is {short_repr(value)}", f"Give an integer from {minimum} to {maximum}"
        )
    return number


def _entry(record: object, where: str) -> ModelEntry:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise InvalidInputError(
            f"{where} is {short_repr(record)}",
            'Write {"name": "small", "nonembedding_parameters": 1000, "step": 100}',
        )
    name, field = names.check(record["name"], f"{where}: model name"), "nonembedding_parameters"
    return ModelEntry(
        name=name,
        nonembedding_parameters=_integer(record.get(field), 1, MAX_PARAMETERS, f"{where}: {field}"),
        step=_integer(record.get("step"), 0, MAX_STEP, f"{where}: step"),
    )


def read_models(path: Path) -> tuple[ModelEntry, ...]:
    """Return the columns that a MODELS.json describes, in file order.

    Raises:
        InvalidInputError: another structure, a repeated (name, step), or a name with two sizes.
    """
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise InvalidInputError(
            f"{path} does not contain a list of models",
            'Write [{"name": "small", "nonembedding_parameters": 1000, "step": 100}, …]',
        )
    entries = tuple(_entry(r, f"{path}, model {i}") for i, r in enumerate(records))
    sizes: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for i, entry in enumerate(entries):
        size = entry.nonembedding_parameters
        if size != sizes.setdefault(entry.name, size):
            raise InvalidInputError(
                f"{path}, model {i}: {entry.name} has {size} non-embedding parameters "
                f"here and {sizes[entry.name]} before",
                "Give models of different sizes different names",
            )
        first = places.setdefault((entry.name, entry.step), i)
        if first != i:
            raise InvalidInputError(
                f"{path}: models {first} and {i} are both {entry.title}",
                "Give every column its own name and step",
            )
    return entries


def open_losses(path: Path, n_models: int) -> NDArray[np.floating[Any]]:
    """Return the memory-mapped array of a `.npy` file with one column per model.

    Raises:
        InvalidInputError: not a complete `.npy` file of that shape and of floats.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file", "Give a .npy file")
    try:
        # Never unpickles: numpy rejects object arrays by their header.
        losses = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's header parser raises many types
        raise InvalidInputError(
            f"{path} cannot be read as one .npy array ({error})",
            "Write it with numpy.save(path, losses), floats only",
        ) from error
    if losses.dtype.kind != "f" or losses.dtype.itemsize not in (2, 4, 8):
        raise InvalidInputError(
            f"{path} has dtype {short_repr(str(losses.dtype))}", "Give float16, float32 or float64"
        )
    if losses.ndim != 2 or losses.shape[1] != n_models or not losses.shape[0]:
        raise InvalidInputError(
            f"{path} has shape {losses.shape}, but there are {n_models} models",
            f"Give an array of shape (predictions, {n_models})",
        )
    extra = path.stat().st_size - int(losses.offset) - losses.nbytes
    if extra:
        raise InvalidInputError(
            f"{path} is {extra} bytes longer than its header says", "Write the file again"
        )
    return np.asarray(losses)


def invalid_value_error(
    path: Path, values: NDArray[Any], factor: float, first: int, entries: Sequence[ModelEntry]
) -> InvalidInputError:
    """Return the error for the first value of a block that cannot be stored."""
    usable = np.isfinite(values) & (values >= 0) & (values * factor < MAX_LOSS_NATS)
    row, column = np.argwhere(~usable)[0].tolist()
    return InvalidInputError(
        f"{path}: the loss of prediction {first + row} under {entries[column].title} is "
        f"{values[row, column]} (times {factor:.6g} nats), must be finite, >= 0 and "
        f"< {MAX_LOSS_NATS:g} nats",
        "Correct or drop that prediction; nothing is stored",
    )


def convert_block(
    block: NDArray[np.floating[Any]], factor: float
) -> tuple[NDArray[np.float16], NDArray[np.float32]] | None:
    """Convert a block to stored rows, one per model; None if a value is invalid.

    The block is (predictions, models), any float dtype and byte order, in units of `factor` nats.
    """
    from compute.float16_rounding import round_to_float16

    # NaN makes both comparisons false.
    if not (block.min() >= 0 and float(block.max()) * factor < MAX_LOSS_NATS):
        return None
    columns = np.ascontiguousarray(block.T, np.float32)
    if factor != 1.0:
        columns = columns * np.float32(factor)
    return round_to_float16(columns)
