"""Exported tables: what is read back is what is stored, in every format; files appear whole."""

import csv
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from backend.corpora.predictions import prediction
from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.exchange import table_files
from backend.exchange.exports import (
    BLOCK_ROWS,
    Range,
    clusters_table,
    curves_table,
    losses_table,
    named_curve_set,
    predictions_table,
)
from backend.exchange.spreadsheet import FORMULA_STARTS, escape_formula
from backend.exchange.table_files import FORMATS, Column, Format, Table, iter_bytes, write_table
from backend.quanta.contexts import list_contexts
from backend.read.losses import SCORE_DTYPES, curve_scores
from backend.read.suite_losses import suite_losses
from backend.search.request import SearchFilters, SearchRequest, Shape
from backend.search.search import rank_predictions, search
from backend.search.text_filters import TextFilter
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Cluster, Clustering, ClusterMember, CurveSet

SUITE, CORPUS = "mini", "mini-held-out-60"


def read_back(path: Path, format: Format) -> pa.Table:
    if format == "parquet":
        return pq.read_table(path)
    if format == "arrow":
        with pa.ipc.open_file(path) as file:
            return file.read_all()
    if format == "csv":
        with path.open(newline="") as file:
            return pa.Table.from_pylist(list(csv.DictReader(file)))
    return pa.Table.from_pylist(json.loads(path.read_text())["rows"])


def written(table: Table, folder: Path, format: Format) -> pa.Table:
    path = folder / f"out.{format}"
    assert write_table(table, path, format) == path.stat().st_size
    assert list(folder.iterdir()) == [path], "nothing is left beside it"
    return read_back(path, format)


def numbers(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    """A column as numbers; what CSV leaves empty is NaN."""
    cells = [np.nan if cell in {None, ""} else float(cell) for cell in table[name].to_pylist()]
    return np.array(cells)


@pytest.mark.parametrize("format", FORMATS)
def test_losses_are_those_stored(mini_store: Store, tmp_path: Path, format: Format) -> None:
    read = written(losses_table(mini_store, SUITE, CORPUS, Range()), tmp_path, format)
    with mini_store.session() as session:
        home = corpus_named(session, CORPUS)
        held = suite_losses(mini_store, session, home, suite_named(session, SUITE))
    assert numbers(read, "prediction").tolist() == list(range(home.n_predictions))
    assert len(read.column_names) == 1 + len(held.evaluations)
    for column, evaluation in enumerate(held.evaluations):
        checkpoint = evaluation.checkpoint
        name = f"loss_nats_{checkpoint.model.name}_step{checkpoint.step}"
        np.testing.assert_array_equal(
            numbers(read, name).astype(np.float16), held.values[:, column]
        )


@pytest.mark.parametrize("axis", ["N", "S"])
@pytest.mark.parametrize("format", FORMATS)
def test_curves_are_those_stored(
    mini_store: Store, tmp_path: Path, format: Format, axis: str
) -> None:
    from compute.curve_classes import CURVE_CLASSES

    curve_set_id = named_curve_set(mini_store, SUITE, CORPUS, axis, None)
    read = written(curves_table(mini_store, curve_set_id, Range()), tmp_path, format)
    with mini_store.session() as session:
        curve_set = session.get_one(CurveSet, curve_set_id)
        home = curve_set.corpus
        held = suite_losses(mini_store, session, home, curve_set.suite)
    codes = curve_scores(mini_store, curve_set, "curve_class")
    assert read["curve_class"].to_pylist() == [CURVE_CLASSES[code] for code in codes]
    for name, dtype in SCORE_DTYPES.items():
        if name in {"curve_class", "published_polygenic"}:
            continue
        stored = curve_scores(mini_store, curve_set, name)
        expected = np.where(np.isfinite(stored), stored, np.nan).astype(np.float64)
        if name in {"published_monogenic", "published_banded"}:
            expected[stored < 0] = np.nan
        got = numbers(read, name)
        if dtype == "float32":  # a file may hold the shortest number that is the same in float32
            got = got.astype(np.float32).astype(np.float64)
        elif dtype == "float16":
            got = got.astype(np.float16).astype(np.float64)
        np.testing.assert_array_equal(got, expected, err_msg=name)
    curves = [numbers(read, n) for n in read.column_names if n.startswith("loss_nats_")]
    values = held.values[:, held.columns(curve_set.evaluation_ids)]
    np.testing.assert_array_equal(np.stack(curves, axis=1).astype(np.float16), values)


def test_found_predictions_are_shown_as_on_their_pages(mini_store: Store, tmp_path: Path) -> None:
    request = SearchRequest(
        filters=SearchFilters(text=TextFilter(token_pattern="the")), sort="final"
    )
    result = rank_predictions(mini_store, request, 5, 60)
    table = predictions_table(mini_store, result, context=8)
    rows = written(table, tmp_path, "parquet").to_pylist()
    assert [row["prediction"] for row in rows] == [
        m.index for m in search(mini_store, request).matches[:5]
    ]
    for row in rows:
        view = prediction(mini_store, CORPUS, row["prediction"], context=8)
        assert row["document"] == view.document
        assert row["position"] == view.position
        assert (row["answer"], row["answer_id"]) == (view.token.text, view.token.id)
        assert "the" in row["answer"]
        assert row["context"] == "".join(v.token.shown for v in view.context[:-1])
        assert (row["document_id"], row["source"]) == (view.document_id, view.source)
        (curve,) = [c for c in view.curves if c.axis == "N"]
        assert row["curve_class"] == curve.curve_class
        assert {name: row[name] for name in curve.scores} == curve.scores


def test_the_nearest_curves_come_with_their_distances(mini_store: Store, tmp_path: Path) -> None:
    request = SearchRequest(shape=Shape(example=17), limit=20)
    table = predictions_table(mini_store, rank_predictions(mini_store, request, 20, 60), context=0)
    read = written(table, tmp_path, "arrow")
    matches = search(mini_store, request).matches
    assert read["prediction"].to_pylist() == [m.index for m in matches]
    assert read["distance"].to_pylist() == [m.distance for m in matches]
    assert "context" not in read.column_names


def test_nothing_found_is_a_table_without_rows(mini_store: Store, tmp_path: Path) -> None:
    filters = SearchFilters(text=TextFilter(text="no document says this"))
    for shape in (None, Shape(example=0)):
        result = rank_predictions(mini_store, SearchRequest(shape=shape, filters=filters), None, 60)
        path = tmp_path / f"{shape is None}.json"
        write_table(predictions_table(mini_store, result), path, "json")
        document = json.loads(path.read_text())
        assert document["rows"] == []
        assert document["metadata"]["n_matching"] == "0"


@pytest.mark.parametrize("format", FORMATS)
def test_clusters_hold_every_member_with_its_context(
    mini_store: Store, tmp_path: Path, format: Format
) -> None:
    with mini_store.session() as session:
        clustering = session.scalars(select(Clustering).where(Clustering.n_clusters == 5)).one()
        members = session.execute(
            select(Cluster.id, Cluster.rank, Cluster.size, ClusterMember.prediction)
            .join(ClusterMember, ClusterMember.cluster_id == Cluster.id)
            .where(Cluster.clustering_id == clustering.id)
            .order_by(Cluster.rank, ClusterMember.position)
        ).all()
    read = written(clusters_table(mini_store, clustering.id, context=16), tmp_path, format)
    names = ["cluster", "cluster_rank", "cluster_size", "prediction"]
    columns = [numbers(read, name).astype(int).tolist() for name in names]
    assert list(zip(*columns, strict=True)) == [tuple(row) for row in members]
    first = list_contexts(mini_store, members[0][0], context=16, limit=20).contexts
    for row, item in zip(read.to_pylist(), first, strict=False):
        displayed = "".join(value.token.shown for value in item.tokens[:-1])
        assert row["context"] == (escape_formula(displayed) if format == "csv" else displayed)
        assert np.float16(row["loss_nats"]) == item.loss_nats
        assert row["document_id"] == item.document_id


@pytest.mark.parametrize("format", ["parquet", "arrow", "json"])
def test_metadata_says_what_a_table_is_of(
    mini_store: Store, tmp_path: Path, format: Format
) -> None:
    table = losses_table(mini_store, SUITE, CORPUS, Range(2, 3))
    path = tmp_path / "out"
    write_table(table, path, format)
    if format == "json":
        metadata = json.loads(path.read_text())["metadata"]
    else:
        raw = read_back(path, format).schema.metadata
        metadata = {key.decode(): value.decode() for key, value in raw.items()}
        metadata.pop("ARROW:schema", None)
    with mini_store.session() as session:
        home = corpus_named(session, CORPUS)
    assert metadata == dict(table.metadata)
    assert (metadata["suite"], metadata["corpus"], metadata["unit"]) == (SUITE, CORPUS, "nats")
    assert metadata["corpus_key"] == home.key
    assert metadata["version"]


def test_a_range_ends_with_the_corpus(mini_store: Store) -> None:
    with mini_store.session() as session:
        size = corpus_named(session, CORPUS).n_predictions
    table = losses_table(mini_store, SUITE, CORPUS, Range(size - 2, 10))
    assert [batch["prediction"].to_pylist() for batch in table.batches()] == [[size - 2, size - 1]]
    for wrong in (Range(-1), Range(size), Range(0, 0)):
        with pytest.raises(InvalidInputError, match=r"first is|limit is"):
            losses_table(mini_store, SUITE, CORPUS, wrong)


def text_table(cells: list[str | None], blocks: int = 1) -> Table:
    array = pa.array(cells, pa.string())

    def numbered() -> Iterator[np.ndarray[Any, Any]]:
        for _ in range(blocks):
            yield np.arange(len(cells))

    column = Column("text", pa.string(), lambda rows: array.take(pa.array(rows)))
    return Table([column], numbered(), len(cells) * blocks, {})


CELLS = [f"{start}1+1" for start in FORMULA_STARTS] + [
    *("a=1", "", 'quote " comma , end', "line\r\nline", "tab\t", "'", "\u2028", "ﾅ漢🜂", "\x00b"),
]


def test_csv_cells_that_a_spreadsheet_would_run_are_escape_column(tmp_path: Path) -> None:
    read = written(text_table(CELLS), tmp_path, "csv")
    assert read["text"].to_pylist() == [escape_formula(cell) for cell in CELLS]
    assert sum(cell.startswith("'") for cell in read["text"].to_pylist()) == len(FORMULA_STARTS) + 1


@pytest.mark.parametrize("format", ["parquet", "arrow", "json"])
def test_other_formats_keep_text_as_it_is(tmp_path: Path, format: Format) -> None:
    cells = [*CELLS, None]
    assert written(text_table(cells), tmp_path, format)["text"].to_pylist() == cells


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_every_number_of_blocks_is_a_whole_file(
    tmp_path: Path, format: Format, blocks: int
) -> None:
    path = tmp_path / "out"
    write_table(text_table(["a", "b"], blocks), path, format)
    if format == "csv":
        assert path.read_text().count("\n") == 1 + 2 * blocks
    elif blocks:
        assert read_back(path, format)["text"].to_pylist() == ["a", "b"] * blocks
    else:
        assert read_back(path, format).num_rows == 0


@pytest.mark.parametrize("format", FORMATS)
def test_memory_does_not_grow_with_the_rows(format: Format) -> None:
    """A table of 40 blocks leaves in 40 pieces or more, none of them much larger than a block."""
    rows = np.arange(BLOCK_ROWS // 16, dtype=np.int64)
    values = np.random.default_rng(0).integers(0, 1 << 62, len(rows))
    column = Column("n", pa.int64(), lambda block: pa.array(values[block]))
    table = Table([column], (rows for _ in range(40)), len(rows) * 40, {})
    sizes = [len(piece) for piece in iter_bytes(table, format)]
    assert len([size for size in sizes if size]) >= 40
    assert max(sizes) < 2 * sum(sizes) / 40


def failing_table() -> Table:
    table = text_table(["a"], 3)

    def broken() -> Iterator[Any]:
        yield from list(table.blocks)[:2]
        raise OSError(errno.ENOSPC, "No space left on device")

    return Table(table.columns, broken(), 3, {})


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    with pytest.raises(InvalidInputError, match="No space left"):
        write_table(failing_table(), path, format, overwrite=True)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    monkeypatch.setattr(table_files, "iter_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_table(text_table(["a"]), tmp_path / "out", "csv")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(InvalidInputError, match="exists") as caught:
        write_table(text_table(["a"]), path, "csv")
    assert "--force" in caught.value.remedy
    assert path.read_text() == "mine"
    write_table(text_table(["a"]), path, "csv", overwrite=True)
    assert path.read_text() == '"text"\n"a"\n'


@pytest.mark.parametrize("place", [".", "none/out.csv"])
def test_a_place_that_is_no_file_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidInputError, match="folder"):
        write_table(text_table(["a"]), tmp_path / place, "csv", overwrite=True)


def test_unknown_names_are_refused_before_anything_is_written(mini_store: Store) -> None:
    with pytest.raises(NotFoundError):
        losses_table(mini_store, "none", CORPUS, Range())
    with pytest.raises(NotFoundError):
        named_curve_set(mini_store, SUITE, "none", "N", None)
    with pytest.raises(NotFoundError):
        clusters_table(mini_store, 10**6)
    with pytest.raises(NotReadyError, match="quanta classify"):
        named_curve_set(mini_store, SUITE, CORPUS, "S", "s5")
    with pytest.raises(InvalidInputError, match="axis"):
        named_curve_set(mini_store, SUITE, CORPUS, "X", None)


def test_hostile_text_is_neutralised_from_the_store_to_the_file(
    hostile_store: Store, tmp_path: Path
) -> None:
    with hostile_store.session() as session:
        clustering = session.scalars(select(Clustering.id).order_by(Clustering.id)).first()
    assert clustering is not None
    plain = written(clusters_table(hostile_store, clustering), tmp_path, "parquet")
    (tmp_path / "out.parquet").unlink()
    safe = written(clusters_table(hostile_store, clustering), tmp_path, "csv")
    for name in ("context", "answer", "source", "document_id"):
        assert safe[name].to_pylist() == [escape_formula(cell) for cell in plain[name].to_pylist()]
        assert not pc.any(pc.match_substring_regex(safe[name], table_files._FORMULA)).as_py()
