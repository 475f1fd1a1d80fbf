"""Write tables as Parquet, Arrow, CSV or JSON in blocks: memory does not grow with the rows.

Metadata (source, unit, version of this program) is in the schema of Parquet and Arrow, and under
`metadata` in JSON; CSV has none. A CSV cell that a spreadsheet would run as a formula is prefixed
with '; the other formats leave text unchanged.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.exchange.spreadsheet import FORMULA_STARTS

Format = Literal["parquet", "arrow", "csv", "json"]
FORMATS: tuple[Format, ...] = ("parquet", "arrow", "csv", "json")
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """One column; `values` returns its cells for an array of rows."""

    name: str
    type: pa.DataType
    values: Callable[[Rows], pa.Array]


@dataclass(frozen=True)
class Table:
    """Rows to export, in blocks computed lazily.

    `blocks` yields the row numbers of each block; `metadata` is the provenance as strings.
    """

    columns: Sequence[Column]
    blocks: Iterable[Rows]
    n_rows: int
    metadata: Mapping[str, str]

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns, with the metadata."""
        return pa.schema([(c.name, c.type) for c in self.columns], metadata=dict(self.metadata))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the blocks."""
        schema = self.schema
        for rows in self.blocks:
            arrays = [column.values(rows) for column in self.columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def with_progress(self, on_rows: Callable[[int], None]) -> "Table":
        """Return this table calling `on_rows` with the number of rows of every block."""

        def blocks() -> Iterator[Rows]:
            for rows in self.blocks:
                yield rows
                on_rows(len(rows))

        return replace(self, blocks=blocks())


class _ByteBuffer(io.RawIOBase):
    """A write-only file whose content is drained after every block."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def drain(self) -> bytes:
        """Return the bytes written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


_WRITERS: dict[str, Callable[[Any, pa.Schema], Any]] = {
    "parquet": partial(pa.parquet.ParquetWriter, compression="zstd"),
    "arrow": pa.ipc.new_file,
    "csv": pa.csv.CSVWriter,
}


_FORMULA = f"^[{''.join(FORMULA_STARTS)}]".replace("-", r"\-")


def _escape_column(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array
    quoted = pc.binary_join_element_wise("'", array, "")
    return pc.if_else(pc.match_substring_regex(array, _FORMULA), quoted, array)


def _escape_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Escape formulas in all text columns (see `spreadsheet.escape_formula`)."""
    arrays = [_escape_column(array) for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _iter_json(table: Table) -> Iterator[bytes]:
    yield b'{"metadata":' + orjson.dumps(dict(table.metadata)) + b',"rows":['
    separator = b"\n"
    for batch in table.batches():
        rows = [orjson.dumps(row) for row in batch.to_pylist()]
        if rows:
            yield separator + b",\n".join(rows)
            separator = b",\n"
    yield b"\n]}\n"


def iter_bytes(table: Table, format: Format) -> Iterator[bytes]:
    """Yield the bytes of a table in a file format, one block at a time."""
    if format == "json":
        yield from _iter_json(table)
        return
    drain = _ByteBuffer()
    with _WRITERS[format](pa.PythonFile(drain, mode="w"), table.schema) as writer:
        for batch in table.batches():
            writer.write_batch(_escape_batch(batch) if format == "csv" else batch)
            yield drain.drain()
    yield drain.drain()


def resolve_format(path: Path, format: str | None) -> Format:
    """Return `format`, by default that of the file extension.

    Raises:
        InvalidInputError: neither is a known format.
    """
    name = format or path.suffix.removeprefix(".")
    for choice in FORMATS:
        if name == choice:
            return choice
    raise InvalidInputError(
        f"unknown format {name!r}",
        f"Choose --format from {', '.join(FORMATS)}, or use one as file extension",
        "format",
    )


def _check_target(path: Path, overwrite: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"is in {path.parent}, which is not a folder"
        raise InvalidInputError(
            f"{path} {problem}", "Give a file name in an existing folder", "out"
        )
    if path.exists() and not overwrite:
        raise InvalidInputError(f"{path} exists", "Add --force to replace it", "out")


def write_table(
    table: Table,
    path: Path,
    format: Format,
    *,
    overwrite: bool = False,
    on_rows: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a table to a file atomically; return its size in bytes.

    `on_rows` is called with the number of rows of every block.

    Raises:
        InvalidInputError: the file exists, or cannot be written.
    """
    _check_target(path, overwrite)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    size = 0
    try:
        with part.open("wb") as file:
            for piece in iter_bytes(table.with_progress(on_rows), format):
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidInputError(
            f"{path} cannot be written ({error.strerror or error})",
            "Choose another folder, or free disk space",
            "out",
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size
