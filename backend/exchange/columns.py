"""Columns of exported tables: numbers from the caches, text and places of predictions."""

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

_INDEXES = {"published_monogenic", "published_banded"}  # -1 stands for none
# float16 is exact in float32, which more programs can read.
_TYPES = {"float16": pa.float32(), "float32": pa.float32()}


def finite(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return numbers of one type, null where they are not finite."""
    return pa.array(values.astype(kind.to_pandas_dtype()), kind, mask=~np.isfinite(values))


def numbers(name: str, values: NDArray[Any], kind: pa.DataType) -> Column:
    """Return the column of an array with one entry a row."""
    return Column(name, kind, lambda rows: finite(np.asarray(values[rows]), kind))


def losses(name: str, matrix: NDArray[np.float16], column: int) -> Column:
    """Return the column of one checkpoint's losses (nats)."""
    return numbers(name, matrix[:, column], pa.float32())


def _score(store: Store, curve_set: CurveSet, name: str) -> Column:
    values = curve_scores(store, curve_set, name)
    if name == "published_polygenic":
        return Column(name, pa.bool_(), lambda rows: pa.array(values[rows].astype(np.bool_)))
    if name in _INDEXES:
        kind = pa.int16()
        return Column(name, kind, lambda rows: pa.array(values[rows], kind, mask=values[rows] < 0))
    kind = _TYPES.get(SCORE_DTYPES[name]) or pa.from_numpy_dtype(SCORE_DTYPES[name])
    return numbers(name, values, kind)


def _curve_class(store: Store, curve_set: CurveSet) -> Column:
    from compute.curve_classes import CURVE_CLASSES

    codes = curve_scores(store, curve_set, "curve_class")
    names = pa.array([*CURVE_CLASSES, "undefined"])

    def values(rows: Rows) -> pa.Array:
        return names.take(pa.array(np.minimum(codes[rows], len(CURVE_CLASSES))))

    return Column("curve_class", pa.string(), values)


def scores(store: Store, curve_set: CurveSet) -> list[Column]:
    """Return the class and every score of a curve set."""
    others = [name for name in SCORE_DTYPES if name != "curve_class"]
    return [
        _curve_class(store, curve_set),
        *(_score(store, curve_set, name) for name in others),
    ]


def of_prediction(columns: list[Column], predictions: NDArray[np.int64]) -> list[Column]:
    """Return columns of predictions as columns of rows, row r being `predictions[r]`."""

    def moved(column: Column) -> Column:
        return Column(column.name, column.type, lambda rows: column.values(predictions[rows]))

    return [moved(column) for column in columns]


def places(store: Store, read: Reader) -> list[Column]:
    """Return where predictions are, and their answers."""
    targets = target_ids(store, read)
    words = read.vocabulary
    texts = pa.array([words.text(i) for i in range(len(words.bytes) + 1)])

    def documents(rows: Rows) -> NDArray[np.int64]:
        return np.searchsorted(read.predictions, rows, side="right") - 1

    def positions(rows: Rows) -> pa.Array:
        return pa.array(rows - read.predictions[documents(rows)] + 1, pa.int32())

    def answers(rows: Rows) -> pa.Array:
        return texts.take(pa.array(np.minimum(targets[rows], len(words.bytes))))

    return [
        Column("prediction", pa.int64(), pa.array),
        Column("document", pa.int32(), lambda rows: pa.array(documents(rows), pa.int32())),
        Column("position", pa.int32(), positions),
        Column("answer_id", pa.int32(), lambda rows: pa.array(targets[rows], pa.int32())),
        Column("answer", pa.string(), answers),
    ]


def contexts(store: Store, read: Reader, length: int) -> list[Column]:
    """Return what stands before predictions, `length` tokens of it, and where it is from."""
    corpus_id = read.corpus.id

    def of_document(attribute: Any) -> Callable[[Rows], pa.Array]:
        def values(rows: Rows) -> pa.Array:
            documents = (np.searchsorted(read.predictions, rows, side="right") - 1).tolist()
            query = select(Document.index, attribute).where(
                Document.corpus_id == corpus_id, Document.index.in_(sorted(set(documents)))
            )
            with store.session() as session:
                found: dict[int, str] = {index: value for index, value in session.execute(query)}
            return pa.array([found[document] for document in documents], pa.string())

        return values

    def context(prediction: int) -> str:
        place = read.place(prediction)
        first = max(0, place.position - length)
        shown = read.shown(place.document, first, place.position + 1)
        return "".join(value.token.shown for value in shown[:-1])

    return [
        Column("document_id", pa.string(), of_document(Document.external_id)),
        Column("source", pa.string(), of_document(Document.source)),
        Column(
            "context", pa.string(), lambda rows: pa.array([context(row) for row in rows.tolist()])
        ),
    ]
