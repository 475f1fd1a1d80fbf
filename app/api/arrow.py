"""Arrow streams: matrices as one fixed-size-list column beside a row number."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from fastapi import Depends, Header, Query
from numpy.typing import NDArray
from starlette.responses import Response

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
DOCUMENTED: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}


def _wants_arrow(
    response: Response,
    format: Annotated[
        Literal["json", "arrow"] | None, Query(description="Overrides the Accept header")
    ] = None,
    accept: Annotated[str, Header(max_length=1000, include_in_schema=False)] = "",
) -> bool:
    response.headers["Vary"] = "Accept"
    return format == "arrow" or (format is None and MEDIA_TYPE in accept)


WantsArrow = Annotated[bool, Depends(_wants_arrow)]


def matrix_stream(
    index_name: str,
    first: int,
    value_name: str,
    values: NDArray[np.floating[Any]],
    metadata: Mapping[str, str],
) -> Response:
    """Return an Arrow stream of a matrix: a row number and a fixed-size list for every row.

    Args:
        index_name: name of the column of row numbers, which count from `first`.
        first: number of the first row.
        value_name: name of the column of rows.
        values: the matrix, float16 or float32.
        metadata: strings for the schema.
    """
    rows = _array(np.arange(first, first + len(values), dtype=np.int64))
    flat = _array(np.ascontiguousarray(values).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    batch = pa.RecordBatch.from_arrays([rows, lists], names=[index_name, value_name])
    return _stream(batch.replace_schema_metadata(dict(metadata)))


def table_stream(columns: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Response:
    """Return an Arrow stream of columns of equal length.

    Args:
        columns: arrays by name.
        metadata: strings for the schema.
    """
    arrays = [_array(values) for values in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    return _stream(batch.replace_schema_metadata(dict(metadata)))


def _array(values: NDArray[Any]) -> Any:
    """Return an array without nulls; `pa.array` would load pandas, which takes 0.1 GB."""
    if values.dtype == np.bool_:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = pa.from_numpy_dtype(values.dtype)
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, data])


def _stream(batch: Any) -> Response:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Response(sink.getvalue().to_pybytes(), media_type=MEDIA_TYPE, headers={"Vary": "Accept"})
