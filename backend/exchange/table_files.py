"""Tables as Parquet, Arrow, CSV or JSON, made piece by piece: memory does not grow with the rows.

Metadata (what the table is of, its unit, the version of this program) is in the schema of Parquet
and Arrow, and beside the rows in JSON; CSV has no place for it. A CSV cell of text that a
spreadsheet would run as a formula gets a ' before it; the other formats keep text as it is.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """One column; `values` makes its cells for some rows."""

    name: str
    type: pa.DataType
    values: Callable[[Rows], pa.Array]


@dataclass(frozen=True)
class Table:
    """Rows to export, in blocks that are made when they are taken.

    Attributes:
        columns: in order.
        blocks: the rows of each block, as the columns number them.
        n_rows: of all blocks.
        metadata: strings for people and programs.
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

    def watched(self, taken: Callable[[int], None]) -> "Table":
        """Return this table, which tells `taken` the number of rows of every block."""

        def blocks() -> Iterator[Rows]:
            for rows in self.blocks:
                yield rows
                taken(len(rows))

        return replace(self, blocks=blocks())


class _Drain(io.RawIOBase):
    """A file that is taken away as it is written."""

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

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _parquet(sink: Any, schema: pa.Schema) -> Any:
    return pa.parquet.ParquetWriter(sink, schema, compression="zstd")


_WRITERS: dict[str, Callable[[Any, pa.Schema], Any]] = {
    "parquet": _parquet,
    "arrow": pa.ipc.new_file,
    "csv": pa.csv.CSVWriter,
}


_FORMULA = f"^[{''.join(FORMULA_STARTS)}]".replace("-", r"\-")


def _neutralised(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array
    quoted = pc.binary_join_element_wise("'", array, "")
    return pc.if_else(pc.match_substring_regex(array, _FORMULA), quoted, array)


def _harmless(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with no cell that a spreadsheet would run (see `spreadsheet.neutralised`)."""
    arrays = [_neutralised(array) for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _json_pieces(table: Table) -> Iterator[bytes]:
    yield b'{"metadata":' + orjson.dumps(dict(table.metadata)) + b',"rows":['
    between = b"\n"
    for batch in table.batches():
        rows = [orjson.dumps(row) for row in batch.to_pylist()]
        if rows:
            yield between + b",\n".join(rows)
            between = b",\n"
    yield b"\n]}\n"


def pieces(table: Table, format: Format) -> Iterator[bytes]:
    """Yield a table as the bytes of a file, a block at a time."""
    if format == "json":
        yield from _json_pieces(table)
        return
    drain = _Drain()
    with _WRITERS[format](pa.PythonFile(drain, mode="w"), table.schema) as writer:
        for batch in table.batches():
            writer.write_batch(_harmless(batch) if format == "csv" else batch)
            yield drain.taken()
    yield drain.taken()


def format_of(path: Path, format: str | None) -> Format:
    """Return the format asked for, or that of a file's ending.

    Raises:
        InvalidInputError: neither names one.
    """
    name = format or path.suffix.removeprefix(".")
    for known in FORMATS:
        if name == known:
            return known
    raise InvalidInputError(
        f"format {name!r} is not known",
        f"Choose --format of {', '.join(FORMATS)}, or end the file's name with one",
        "format",
    )


def _check_place(path: Path, overwrite: bool) -> None:
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
        raise InvalidInputError(f"{path} {what}", "Give the name of a file in a folder", "out")
    if path.exists() and not overwrite:
        raise InvalidInputError(f"{path} is there already", "Add --force to replace it", "out")


def write_table(
    table: Table,
    path: Path,
    format: Format,
    *,
    overwrite: bool = False,
    wrote: Callable[[int], None] = lambda _: None,
) -> int:
    """Write a table to a file, which appears under its name once it is whole.

    Args:
        table: what to write.
        path: where; its folder must be there.
        format: the kind of file.
        overwrite: replace a file of that name.
        wrote: told the number of rows of every block.

    Returns:
        The size of the file in bytes.

    Raises:
        InvalidInputError: a file is there already, or the place cannot be written to.
    """
    _check_place(path, overwrite)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    size = 0
    try:
        with part.open("wb") as file:
            for piece in pieces(table.watched(wrote), format):
                size += file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidInputError(
            f"{path} cannot be written ({error.strerror or error})",
            "Choose another place, or make room",
            "out",
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size
