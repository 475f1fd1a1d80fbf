"""Arrow: answers as tables, and files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from app.client.errors import UnexpectedAnswerError

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"


def streamed_table(content: bytes) -> Any:
    """Return the `pyarrow.Table` of an Arrow stream.

    Raises:
        UnexpectedAnswerError: it is none.
    """
    try:
        return pa.ipc.open_stream(content).read_all()
    except pa.ArrowInvalid as error:
        raise UnexpectedAnswerError(f"the answer is no Arrow stream ({error})") from error


def file_table(content: bytes) -> Any:
    """Return the `pyarrow.Table` of an Arrow file.

    Raises:
        UnexpectedAnswerError: it is none.
    """
    try:
        return pa.ipc.open_file(content).read_all()
    except pa.ArrowInvalid as error:
        raise UnexpectedAnswerError(f"the answer is no Arrow file ({error})") from error


def facts(table: Any) -> dict[str, str]:
    """Return what the server wrote on a table."""
    metadata = cast(Mapping[bytes, bytes] | None, table.schema.metadata)
    return {name.decode(): value.decode() for name, value in (metadata or {}).items()}


def wide_losses(table: Any) -> Any:
    """Return losses with a column for each checkpoint, named as `quanta export losses` does."""
    columns = json.loads(facts(table)["columns"])
    lists = table.column("loss_nats").combine_chunks()
    names = [f"loss_nats_{one['model']}_step{one['step']}" for one in columns]
    # The same numbers: many programs cannot compute with float16.
    losses = [pc.list_element(lists, j).cast(pa.float32()) for j in range(len(columns))]
    return pa.table([table.column("prediction"), *losses], names=["prediction", *names])


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its name once the block has ended well."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
