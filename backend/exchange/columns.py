"""Columns of exported tables: numbers from the caches, text and positions of predictions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

from backend.exchange.table_files import Column, Rows
from backend.read.losses import SCORE_DTYPES, curve_scores
from backend.read.reader import Reader
from backend.search.token_filters import target_ids
from backend.store.database import Store
from backend.store.tables import CurveSet, Document

_INDEXES = {"published_monogenic", "published_banded"}  # -1 means none
# float16 is exact in float32, which more programs can read.
_TYPES = {"float16": pa.float32(), "float32": pa.float32()}


def to_arrow(values: NDArray[Any], dtype: pa.DataType) -> pa.Array:
    """Convert numbers to an Arrow array, null where not finite."""
    return pa.array(values.astype(dtype.to_pandas_dtype()), dtype, mask=~np.isfinite(values))


def number_column(name: str, values: NDArray[Any], dtype: pa.DataType) -> Column:
    """Return the column of an array with one entry per row."""
    return Column(name, dtype, lambda rows: to_arrow(np.asarray(values[rows]), dtype))


def loss_column(name: str, matrix: NDArray[np.float16], column: int) -> Column:
    """Return the column of one checkpoint's losses (nats)."""
    return number_column(name, matrix[:, column], pa.float32())


def _score_column(store: Store, curve_set: CurveSet, name: str) -> Column:
    values = curve_scores(store, curve_set, name)
    if name == "published_polygenic":
        return Column(name, pa.bool_(), lambda rows: pa.array(values[rows].astype(np.bool_)))
    if name in _INDEXES:
        dtype = pa.int16()
        return Column(
            name, dtype, lambda rows: pa.array(values[rows], dtype, mask=values[rows] < 0)
        )
    dtype = _TYPES.get(SCORE_DTYPES[name]) or pa.from_numpy_dtype(SCORE_DTYPES[name])
    return number_column(name, values, dtype)


def _class_column(store: Store, curve_set: CurveSet) -> Column:
    from compute.curve_classes import CURVE_CLASSES

    codes = curve_scores(store, curve_set, "curve_class")
    names = pa.array([*CURVE_CLASSES, "undefined"])

    def values(rows: Rows) -> pa.Array:
        return names.take(pa.array(np.minimum(codes[rows], len(CURVE_CLASSES))))

    return Column("curve_class", pa.string(), values)


def score_columns(store: Store, curve_set: CurveSet) -> list[Column]:
    """Return the class and every score of a curve set."""
    others = [name for name in SCORE_DTYPES if name != "curve_class"]
    return [
        _class_column(store, curve_set),
        *(_score_column(store, curve_set, name) for name in others),
    ]


def select_rows(columns: list[Column], predictions: NDArray[np.int64]) -> list[Column]:
    """Return columns whose row r is that of `predictions[r]`."""

    def reindex(column: Column) -> Column:
        return Column(column.name, column.type, lambda rows: column.values(predictions[rows]))

    return [reindex(column) for column in columns]


def position_columns(store: Store, reader: Reader) -> list[Column]:
    """Return the columns of index, document, position and answer."""
    targets = target_ids(store, reader)
    words = reader.vocabulary
    texts = pa.array([words.text(i) for i in range(len(words.bytes) + 1)])

    def documents(rows: Rows) -> pa.Array:
        return pa.array(reader.locate_many(rows).documents, pa.int32())

    def positions(rows: Rows) -> pa.Array:
        return pa.array(reader.locate_many(rows).positions, pa.int32())

    def answers(rows: Rows) -> pa.Array:
        return texts.take(pa.array(np.minimum(targets[rows], len(words.bytes))))

    return [
        Column("prediction", pa.int64(), pa.array),
        Column("document", pa.int32(), documents),
        Column("position", pa.int32(), positions),
        Column("answer_id", pa.int32(), lambda rows: pa.array(targets[rows], pa.int32())),
        Column("answer", pa.string(), answers),
    ]


def context_columns(store: Store, reader: Reader, length: int) -> list[Column]:
    """Return the columns of document id, source and the `length` tokens before each prediction."""
    corpus_id = reader.corpus.id

    def of_document(attribute: Any) -> Callable[[Rows], pa.Array]:
        def values(rows: Rows) -> pa.Array:
            documents = reader.locate_many(rows).documents.tolist()
            query = select(Document.index, attribute).where(
                Document.corpus_id == corpus_id, Document.index.in_(sorted(set(documents)))
            )
            with store.session() as session:
                values_by_document: dict[int, str] = {
                    index: value for index, value in session.execute(query)
                }
            return pa.array([values_by_document[document] for document in documents], pa.string())

        return values

    def context(prediction: int) -> str:
        tokens = reader.window(prediction, length).tokens
        return "".join(value.token.shown for value in tokens[:-1])

    return [
        Column("document_id", pa.string(), of_document(Document.external_id)),
        Column("source", pa.string(), of_document(Document.source)),
        Column(
            "context", pa.string(), lambda rows: pa.array([context(row) for row in rows.tolist()])
        ),
    ]
