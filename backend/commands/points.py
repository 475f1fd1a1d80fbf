"""Points of a curve from a CSV file with the columns x and y."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError

MAX_POINTS = 100_000


@dataclass(frozen=True)
class Points:
    """x and y in the order of a file, and their line numbers."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    lines: tuple[int, ...]


def read_points(path: Path) -> Points:
    """Return the points of a CSV file whose header names x and y.

    Raises:
        InvalidInputError: the file, a column or a value cannot be used; the message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames)
            rows = []
            for row in reader:
                rows.append((_number(row, "x", reader), _number(row, "y", reader), reader.line_num))
                if len(rows) > MAX_POINTS:
                    raise InvalidInputError(f"{path} has over {MAX_POINTS} points", "Thin them out")
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror})", "Give a CSV file"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"{path} is not CSV in UTF-8 ({error})", "Save it as CSV with the columns x and y"
        ) from error
    x, y, lines = zip(*rows, strict=True) if rows else ((), (), ())
    return Points(np.array(x, dtype=np.float64), np.array(y, dtype=np.float64), tuple(lines))


def _check_header(path: Path, names: object) -> None:
    columns = [str(name).strip() for name in names] if isinstance(names, list) else []
    for column in ("x", "y"):
        if columns.count(column) != 1:
            present = ", ".join(columns) or "nothing"
            raise InvalidInputError(
                f"{path}, line 1: expected one column {column}, the header has {present}",
                "Name the columns x and y in the first line",
            )


def _number(row: dict[str, str], column: str, reader: "csv.DictReader[str]") -> float:
    # The header may be padded with blanks; a missing value is None.
    text = next((v for k, v in row.items() if k is not None and k.strip() == column), None)
    location = f"line {reader.line_num}: {column} is {text!r}"
    try:
        value = float(text) if text is not None else math.nan
    except ValueError as error:
        raise InvalidInputError(
            location, "Write a number such as 3.1e8 or drop the line"
        ) from error
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(
            location, "Fits are made in logarithms: give a finite number above 0 or drop the line"
        )
    return value
