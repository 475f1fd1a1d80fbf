"""Imported losses: read back as given, refused whole, found again; classify works on them."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from backend.corpora import predictions
from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.exchange.losses import import_losses
from backend.progress import Silent
from backend.read.documents import chunk_spans
from backend.read.losses import loss_matrix
from backend.schemas.discover import DiscoverParameters
from backend.stages.classify import classify
from backend.stages.curve_tallies import unit_sizes
from backend.stages.discover import discover
from backend.stages.evaluate import evaluate
from backend.store.arrays import MAX_LOSS_NATS
from backend.store.content_hash import content_hash
from backend.store.database import Store
from backend.store.lookup import corpus_named, finished_evaluations, suite_named
from backend.store.tables import Corpus, CurveSet, Evaluation
from compute.curve_classes import CURVE_CLASSES, curve_scores
from tests.backend.importing import (
    MODELS,
    random_losses,
    read_back,
    rows_of_every_table,
    tolerance,
    written,
)
from tests.processes import quanta
from tests.stores import ONE_CORE, small_corpus


@pytest.mark.parametrize("unit", ["nats", "bits"])
def test_losses_are_read_back_within_the_stores_precision(
    any_store: Store, tmp_path: Path, unit: str
) -> None:
    losses = random_losses(150_000)
    result = import_losses(any_store, written(tmp_path / "f", losses, unit=unit), Silent())
    nats = losses * (math.log(2) if unit == "bits" else 1)
    back = read_back(any_store, result.evaluations)
    assert (np.abs(back - nats) <= tolerance(nats)).all()
    with any_store.session() as session:
        rows = [session.get_one(Evaluation, i) for i in result.evaluations]
        corpus = rows[0].corpus
        assert [s.n_predictions for s in chunk_spans(session, corpus)] == [65_536, 65_536, 18_928]
        assert (corpus.name, corpus.has_text, corpus.n_documents) == ("pythia", False, 0)
        for row, column in zip(rows, back.T, strict=True):
            assert row.completed_at is not None
            assert row.checkpoint.location is None
            assert row.mean_loss_nats == pytest.approx(column.mean(), rel=1e-12)
            assert row.share_under_tenth_nat == (column < 0.1).mean()
    assert content_hash(any_store)[1]["losses"] == 3 * len(MODELS)


FORMS: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
    "float16": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "big-endian float64": lambda x: x.astype(">f8"),
    "big-endian float16": lambda x: x.astype(">f2"),
    "Fortran order": np.asfortranarray,
    "Fortran order, float32": lambda x: np.asfortranarray(x.astype(np.float32)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_array_is_the_same_import(
    store: Store, tmp_path: Path, form: str
) -> None:
    exact = random_losses(70_000).astype(np.float16).astype(np.float64)
    first = import_losses(store, written(tmp_path / "a", exact), Silent())
    digest = content_hash(store)
    repeated = import_losses(store, written(tmp_path / "b", FORMS[form](exact)), Silent())
    assert first.created
    assert not repeated.created
    assert repeated == replace(first, created=False)
    assert content_hash(store) == digest


def test_thousands_of_columns_are_converted_in_groups(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    losses = rng.gamma(1, 2, (50, 75)).astype(np.float32)
    models = [
        {"name": f"m{i // 5}", "nonembedding_parameters": 100 + i // 5, "step": i % 5}
        for i in range(75)
    ]
    result = import_losses(store, written(tmp_path / "f", losses, models), Silent())
    assert np.abs(read_back(store, result.evaluations) - losses).max() < 1e-2
    np.testing.assert_array_equal(read_back(store, result.evaluations), losses.astype(np.float16))


def test_curves_over_size_and_step_have_the_classes_of_the_stored_losses(
    any_store: Store, tmp_path: Path
) -> None:
    losses = random_losses(70_000).clip(0, 20)
    import_losses(any_store, written(tmp_path / "f", losses), Silent())
    with any_store.session() as session:
        corpus, suite = corpus_named(session, "pythia"), suite_named(session, "pythia")
    ids = classify(any_store, corpus, suite, Silent())
    with any_store.session() as session:
        by_size, by_step = (session.get_one(CurveSet, i) for i in ids)
        assert (by_size.axis, by_step.axis) == ("N", "S")
        assert by_step.axis_values == [10, 100, 1000]
        for row in (by_size, by_step):
            evaluations = [session.get_one(Evaluation, i) for i in row.evaluation_ids]
            stored = loss_matrix(any_store, corpus, evaluations)
            expected = curve_scores(np.asarray(stored), np.array(row.axis_values)).curve_class
            shares = np.bincount(expected, minlength=len(CURVE_CLASSES)) / len(expected)
            assert row.summary is not None
            assert list(row.summary["classes"].values()) == pytest.approx(shares.tolist())
    view = predictions.prediction(any_store, "pythia", 65_536)
    assert [curve.axis for curve in view.curves] == ["N", "S"]
    exact = losses[65_536, :3]
    assert np.abs(np.array(view.curves[0].loss_nats) - exact).max() <= tolerance(exact).max()


def test_blocks_stand_for_documents_where_there_is_no_text(store: Store, tmp_path: Path) -> None:
    import_losses(store, written(tmp_path / "f", random_losses(3000)), Silent())
    with store.session() as session:
        sizes = unit_sizes(session, corpus_named(session, "pythia"), 0, 3000)
    assert sizes.tolist() == [1024, 1024, 952]


def test_losses_of_a_stored_corpus_follow_its_chunks(any_store: Store, tmp_path: Path) -> None:
    corpus = small_corpus(any_store)
    losses = random_losses(corpus.n_predictions)
    spec = written(tmp_path / "f", losses, corpus=corpus.name)
    result = import_losses(any_store, spec, Silent())
    back = read_back(any_store, result.evaluations)
    assert (np.abs(back - losses) <= tolerance(losses)).all()
    assert not import_losses(any_store, spec, Silent()).created
    with any_store.session() as session:
        assert corpus.n_chunks > 1
        assert session.scalars(select(Corpus.name)).all() == [corpus.name]
        home = session.scalars(select(Corpus)).one()
        assert len(finished_evaluations(session, home, suite_named(session, "pythia"))) == 5
    view = predictions.prediction(any_store, corpus.name, 7, suite="pythia")
    assert view.token is not None


def test_another_number_of_predictions_than_the_corpus_has_is_refused(
    store: Store, tmp_path: Path
) -> None:
    corpus = small_corpus(store)
    spec = written(tmp_path / "f", random_losses(77), corpus=corpus.name)
    with pytest.raises(InvalidInputError, match=f"77 predictions.*has {corpus.n_predictions}"):
        import_losses(store, spec, Silent())
    with pytest.raises(NotFoundError):
        import_losses(store, replace(spec, corpus="no-such"), Silent())


BAD_VALUES = [math.nan, math.inf, -math.inf, -1e-4, MAX_LOSS_NATS, 1e30]


@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("kind", ["f4", "f8", ">f8"])
def test_a_loss_that_cannot_be_stored_is_named_and_nothing_is_written(
    any_store: Store, tmp_path: Path, value: float, kind: str
) -> None:
    losses = random_losses(70_000).clip(0, 100).astype(kind)
    losses[69_123, 3] = value
    before = rows_of_every_table(any_store)
    with pytest.raises(InvalidInputError, match="prediction 69123 under m410 step 10 is"):
        import_losses(any_store, written(tmp_path / "f", losses), Silent())
    assert rows_of_every_table(any_store) == before


def test_a_loss_in_bits_may_pass_the_range_that_nats_may_not(store: Store, tmp_path: Path) -> None:
    losses = np.full((3, 5), MAX_LOSS_NATS)
    result = import_losses(store, written(tmp_path / "f", losses, unit="bits"), Silent())
    assert read_back(store, result.evaluations).max() == pytest.approx(
        MAX_LOSS_NATS * math.log(2), rel=5e-4
    )


class Pickled:
    """Would leave a trace if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def _broken_file(folder: Path, fault: str) -> None:
    path = folder / "losses.npy"
    losses = random_losses(40)
    if fault == "objects":
        np.save(path, np.array([[Pickled()] * 5], dtype=object), allow_pickle=True)
    elif fault == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif fault == "no header":
        path.write_bytes(path.read_bytes()[:50])
    elif fault == "longer":
        path.write_bytes(path.read_bytes() + b"abc")
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "an archive":
        with path.open("wb") as file:
            np.savez(file, losses=losses)
    elif fault == "missing":
        path.unlink()
    else:
        shapes = {
            "one column": losses[:, :1],
            "one axis": losses[:, 0],
            "three axes": losses[None],
            "no prediction": losses[:0],
            "integers": losses.astype(np.int64),
            "complex": losses.astype(complex),
            "long double": losses.astype(np.longdouble),
        }
        np.save(path, shapes[fault])


@pytest.mark.parametrize(
    "fault",
    [
        *("objects", "truncated", "no header", "longer", "empty", "an archive", "missing"),
        *("one column", "one axis", "three axes", "no prediction", "integers", "complex"),
        "long double",
    ],
)
def test_a_file_that_is_not_such_an_array_is_refused(
    store: Store, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = written(tmp_path / "f", random_losses(40))
    _broken_file(tmp_path / "f", fault)
    with pytest.raises(InvalidInputError, match=r"losses\.npy"):
        import_losses(store, spec, Silent())
    assert not (tmp_path / "unpickled").exists()
    assert not rows_of_every_table(store)["suite"]


def test_another_content_under_the_same_name_is_refused(store: Store, tmp_path: Path) -> None:
    losses = random_losses(500)
    import_losses(store, written(tmp_path / "a", losses), Silent())
    digest, tables = content_hash(store), rows_of_every_table(store)
    changed = losses.copy()
    changed[499, 0] += 1
    renamed = [{**MODELS[0], "step": 999}, *MODELS[1:]]
    resized = [{**MODELS[0], "nonembedding_parameters": 1}, *MODELS[1:]]
    for i, (other, models) in enumerate(
        [
            (changed, MODELS),
            (losses[:-1], MODELS),
            (losses[:, :4], MODELS[:4]),
            (losses, renamed),
            (losses, resized),
        ]
    ):
        with pytest.raises(InvalidInputError, match="pythia belongs to another suite"):
            import_losses(store, written(tmp_path / f"b{i}", other, models), Silent())
    assert (content_hash(store), rows_of_every_table(store)) == (digest, tables)


def test_equal_losses_under_two_names_are_two_suites(store: Store, tmp_path: Path) -> None:
    spec = written(tmp_path / "f", random_losses(100))
    first = import_losses(store, spec, Silent())
    second = import_losses(store, replace(spec, name="copy"), Silent())
    assert second.created
    assert set(first.evaluations).isdisjoint(second.evaluations)


def test_names_that_are_taken_or_unusable_are_refused(
    pipeline_store: tuple[Store, Any], tmp_path: Path
) -> None:
    store, pipeline = pipeline_store
    spec = written(tmp_path / "f", random_losses(10))
    with pytest.raises(InvalidInputError, match="belongs to another suite"):
        import_losses(store, replace(spec, name="small"), Silent())
    with pytest.raises(InvalidInputError, match="belongs to another corpus"):
        import_losses(store, replace(spec, name=pipeline.corpus.name), Silent())
    with pytest.raises(InvalidInputError, match="not usable"):
        import_losses(store, replace(spec, name="a b"), Silent())
    with pytest.raises(InvalidInputError, match="unit 'hartleys'"):
        import_losses(store, replace(spec, unit="hartleys"), Silent())


def test_what_needs_weights_or_text_says_that_there_are_none(
    any_store: Store, suite_folder: Path, tmp_path: Path
) -> None:
    from backend.stages.suites import add_suite

    import_losses(any_store, written(tmp_path / "f", random_losses(300)), Silent())
    add_suite(any_store, suite_folder, "small", "", Silent())
    with any_store.session() as session:
        corpus = corpus_named(session, "pythia")
        imported = [c.id for m in suite_named(session, "pythia").models for c in m.checkpoints]
        real = [c.id for m in suite_named(session, "small").models for c in m.checkpoints]
    with pytest.raises(InvalidInputError, match="imported as losses and has no weights"):
        evaluate(any_store, corpus, imported, ONE_CORE, Silent())
    with pytest.raises(InvalidInputError, match="imported without text and has no tokens"):
        evaluate(any_store, corpus, real, ONE_CORE, Silent())
    params = DiscoverParameters(suite="pythia", corpus="pythia", n_clusters=[2])
    with pytest.raises(InvalidInputError, match="imported as losses and has no weights"):
        discover(any_store, params, ONE_CORE, Silent())


def test_the_command_prints_what_it_stored(tmp_path: Path) -> None:
    spec = written(tmp_path / "f", random_losses(2000))
    words = ("import", "losses", str(spec.file), "--models", str(spec.models))
    options = ("--unit", "bits", "--name", "mine", "--json")
    first = json.loads(quanta(tmp_path / "data", *words, *options).stdout)
    assert first["predictions"] == 2000
    assert (first["suite"], first["corpus"], first["created"]) == ("mine", "mine", True)
    repeated = json.loads(quanta(tmp_path / "data", *words, *options).stdout)
    assert repeated == {**first, "created": False}
    refused = quanta(tmp_path / "data", *words, "--unit", "bytes", "--name", "x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "unit 'bytes'" in refused.stderr


def test_classify_needs_enough_columns(store: Store, tmp_path: Path) -> None:
    import_losses(store, written(tmp_path / "f", random_losses(10)[:, :2], MODELS[:2]), Silent())
    with store.session() as session:
        corpus, suite = corpus_named(session, "pythia"), suite_named(session, "pythia")
    with pytest.raises(NotReadyError, match="fewer than 3"):
        classify(store, corpus, suite, Silent())
