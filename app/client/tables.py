"""Arrow responses as tables, and atomic writes of files."""

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
        UnexpectedAnswerError: the content is not Arrow.
    """
    try:
        return pa.ipc.open_stream(content).read_all()
    except pa.ArrowInvalid as error:
        raise UnexpectedAnswerError(f"the response is not an Arrow stream ({error})") from error


def file_table(content: bytes) -> Any:
    """Return the `pyarrow.Table` of an Arrow file.

    Raises:
        UnexpectedAnswerError: the content is not Arrow.
    """
    try:
        return pa.ipc.open_file(content).read_all()
    except pa.ArrowInvalid as error:
        raise UnexpectedAnswerError(f"the response is not an Arrow file ({error})") from error


def table_metadata(table: Any) -> dict[str, str]:
    """Return the metadata of a table."""
    metadata = cast(Mapping[bytes, bytes] | None, table.schema.metadata)
    return {name.decode(): value.decode() for name, value in (metadata or {}).items()}


def wide_losses(table: Any) -> Any:
    """Return losses with a column for each checkpoint, with the names of `quanta export losses`."""
    columns = json.loads(table_metadata(table)["columns"])
    lists = table.column("loss_nats").combine_chunks()
    names = [f"loss_nats_{c['model']}_step{c['step']}" for c in columns]
    # float32 holds the same numbers; many programs cannot compute with float16.
    losses = [pc.list_element(lists, j).cast(pa.float32()) for j in range(len(columns))]
    return pa.table([table.column("prediction"), *losses], names=["prediction", *names])


@contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` if the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
