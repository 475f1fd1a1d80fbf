"""Stored measures: beside the losses or after them, and what heat makes of them."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from backend.corpora.heat import HeatRequest, heat
from backend.corpora.heat_scales import (
    MEASURES,
    N_BINS,
    Scale,
    heat_class,
    heat_classes,
    histogram,
    scale_ends,
)
from backend.corpora.views import Measure
from backend.errors import InvalidInputError, NotReadyError
from backend.progress import Silent
from backend.read.documents import read_all
from backend.read.measures import MEASURES as STORED
from backend.read.measures import chunk_measure, stored_chunks, validate_measures
from backend.read.targets import find_token
from backend.read.tokens import vocabulary
from backend.settings import Settings
from backend.stages.demo import is_built
from backend.stages.evaluate import evaluate
from backend.stages.targets import measure_target
from backend.store.content_hash import content_hash
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named
from backend.store.tables import Corpus, Evaluation, LossChunk, MeasureChunk
from compute.checkpoints import load_model
from compute.measures import document_measures
from tests.stores import MINI, ONE_CORE, Pipeline, checkpoint_ids, copy_store

CORPUS = "mini-held-out-60"


def request(measure: Measure, **more: object) -> HeatRequest:
    return HeatRequest(measure=measure, **more)  # type: ignore[arg-type]


def test_measures_come_after_losses_without_changing_them(
    pipeline_store: tuple[Store, Pipeline], tmp_path: Path, work_log: list[str]
) -> None:
    made, pipeline = pipeline_store
    store = open_store(Settings(data_dir=copy_store(made, tmp_path / "data")))
    with store.session() as session:
        row = session.get_one(Evaluation, pipeline.evaluations[-1])
        checkpoint, folder, key = row.checkpoint_id, row.checkpoint.location, row.key
        before = {c.chunk: c.checksum for c in session.scalars(select(LossChunk))}
    evaluate(store, pipeline.corpus, [checkpoint], ONE_CORE, Silent(), ["entropy", "rank"])
    assert work_log == [f"measure {key[:16]} chunk {c}" for c in range(row.n_chunks)]
    evaluate(store, pipeline.corpus, [checkpoint], ONE_CORE, Silent(), ["rank"])
    assert len(work_log) == row.n_chunks
    with store.session() as session:
        assert before == {c.chunk: c.checksum for c in session.scalars(select(LossChunk))}
        corpus = session.get_one(Corpus, pipeline.corpus.id)
        documents = read_all(session, corpus)
        parts = {
            name: np.concatenate(
                [chunk_measure(session, row, c, name) for c in range(row.n_chunks)]
            )
            for name in ("rank", "entropy")
        }
    expected = document_measures(load_model(Path(folder), vocabulary_size=2048), documents)
    assert parts["rank"].dtype == np.uint16
    assert parts["entropy"].dtype == np.float16
    # Batches of a chunk differ from batches of the whole corpus by rounding.
    assert (parts["rank"] == expected.ranks).mean() > 0.999
    np.testing.assert_allclose(parts["entropy"], expected.entropies, atol=5e-3)
    assert content_hash(store)[1]["measures"] == 2 * row.n_chunks
    store.engine.dispose()


def test_the_demo_stores_every_measure_of_every_last_step(mini_store: Store) -> None:
    with mini_store.session() as session:
        evaluations = session.scalars(select(Evaluation)).all()
        last = {e.checkpoint.model_id: e for e in sorted(evaluations, key=_step)}
        for row in evaluations:
            stored = stored_chunks(session, row)
            if last[row.checkpoint.model_id] is row:
                assert stored == {chunk: set(STORED) for chunk in range(row.n_chunks)}
            else:
                assert not stored
    assert len(last) == 5


def _step(evaluation: Evaluation) -> int:
    return evaluation.checkpoint.step


def test_a_demo_without_measures_is_not_built(writable_store: Store) -> None:
    assert is_built(writable_store, MINI)
    with writable_store.begin() as session:
        session.delete(session.scalars(select(MeasureChunk)).first())
    assert not is_built(writable_store, MINI)


def test_an_unknown_measure_is_named() -> None:
    assert validate_measures(["entropy", "rank", "rank"]) == ("rank", "entropy")
    with pytest.raises(InvalidInputError, match="'loss' cannot be stored"):
        validate_measures(["loss"])


def test_ranks_and_entropies_of_a_document_are_those_of_the_model(mini_store: Store) -> None:
    index = 33  # not in the first chunk
    with mini_store.session() as session:
        document = read_all(session, corpus_named(session, CORPUS))[index]
        (checkpoint,) = checkpoint_ids(mini_store, ("s1", 2000))
        row = session.scalars(
            select(Evaluation).where(Evaluation.checkpoint_id == checkpoint)
        ).one()
        place = row.checkpoint.model.name, row.checkpoint.step, row.checkpoint.location
    model, step, folder = place
    expected = document_measures(load_model(Path(folder), vocabulary_size=2048), [document])
    ranks = heat(mini_store, CORPUS, index, request("rank", model=model, step=step))
    entropies = heat(mini_store, CORPUS, index, request("entropy", model=model, step=step))
    assert ranks.values[0] is None
    assert (np.array(ranks.values[1:]) == expected.ranks).mean() > 0.98
    np.testing.assert_allclose(entropies.values[1:], expected.entropies, atol=5e-3)


def test_a_difference_is_antisymmetric_and_zero_with_itself(mini_store: Store) -> None:
    def values(model: str, other: str) -> np.ndarray:
        frame = heat(mini_store, CORPUS, 0, request("difference", model=model, other_model=other))
        assert (frame.model, frame.other_model) == (model, other)
        return np.array(frame.values[1:], float)

    np.testing.assert_allclose(values("s5", "s1"), -values("s1", "s5"), atol=2e-4)
    assert values("s5", "s1").any()
    own = heat(mini_store, CORPUS, 0, request("difference", model="s3", other_model="s3"))
    assert not np.array(own.values[1:]).any()
    assert set(own.classes[1:]) == {32}


def test_a_difference_is_by_default_from_the_next_smaller_model(mini_store: Store) -> None:
    assert heat(mini_store, CORPUS, 0, request("difference")).other_model == "s4"
    first = heat(mini_store, CORPUS, 0, request("difference", model="s1"))
    assert first.other_model == "s2"
    steps = heat(mini_store, CORPUS, 0, request("difference", model="s1", other_step=0))
    assert (steps.other_model, steps.other_step) == ("s1", 0)


def test_p_of_the_actual_token_agrees_with_its_loss(writable_store: Store) -> None:
    store, index = writable_store, 5
    (checkpoint,) = checkpoint_ids(store, ("s2", 2000))
    with pytest.raises(NotReadyError, match="is not computed for document 5"):
        heat(store, CORPUS, index, request("p_token", model="s2"))
    with store.session() as session:
        corpus = corpus_named(session, CORPUS)
        token = find_token(session, corpus, "⏎")
        ids = read_all(session, corpus)[index]
    measure_target(store, corpus.id, index, token, checkpoint, "cpu")
    measure_target(store, corpus.id, index, token, checkpoint, "cpu")  # stored: nothing to do
    chosen = heat(store, CORPUS, index, request("p_token", model="s2", target=f"id:{token}"))
    actual = heat(store, CORPUS, index, request("p", model="s2"))
    at = np.flatnonzero(ids[1:] == token)
    assert len(at) >= 2
    pairs = [(chosen.values[i + 1], actual.values[i + 1]) for i in at]
    np.testing.assert_allclose(*np.array(pairs, float).T, atol=2e-3)
    assert chosen.target is not None
    assert chosen.target.text == "\n"


@pytest.mark.parametrize(
    ("requested", "text"), [("⏎", "\n"), ("\n", "\n"), ("␠the", " the"), (" the", " the")]
)
def test_tokens_are_found_by_what_can_be_typed(
    mini_store: Store, requested: str, text: str
) -> None:
    with mini_store.session() as session:
        corpus = corpus_named(session, CORPUS)
        token = find_token(session, corpus, requested)
        assert find_token(session, corpus, f"id:{token}") == token
        assert vocabulary(session, corpus.tokenizer_id).text(token) == text


@pytest.mark.parametrize("requested", ["", "no such token", "id:2048", "id:-1", "id:x", "\ud800"])
def test_what_is_no_token_is_refused_by_name(mini_store: Store, requested: str) -> None:
    with mini_store.session() as session:
        corpus = corpus_named(session, CORPUS)
        with pytest.raises(InvalidInputError) as refused:
            find_token(session, corpus, requested)
    assert refused.value.parameter == "target"


def test_classes_are_even_on_their_scale_and_open_at_its_ends() -> None:
    assert heat_classes([-1, 0, 5, 9.99, 10, 99], (0, 10)) == [0, 0, 32, 63, 63, 63]
    assert heat_classes([1, 10, 100, 1000, 65535], (1, 1000), is_log=True) == [0, 21, 42, 63, 63]


def test_values_infinitely_far_outside_a_narrow_scale_take_its_ends() -> None:
    for ends in ((0, 5e-324), (0, 2.2250738585072014e-308)):
        assert heat_classes([-9, 0, 9], ends) == [0, 0, 63]
        assert [heat_class(value, ends) for value in (-9, 0, 9)] == [0, 0, 63]


def test_a_histogram_counts_every_value_once() -> None:
    values = np.array([-9.0, 0, 0.3, 5, 10, 99])
    counts = histogram(values, MEASURES["loss"])
    assert len(counts) == N_BINS
    assert sum(counts) == len(values)
    assert (counts[0], counts[1], counts[20], counts[-1]) == (2, 1, 1, 2)


def test_a_scale_is_the_measures_own_unless_it_is_set_or_unlocked() -> None:
    values, loss = np.array([1.0, 4.0]), MEASURES["loss"]
    assert scale_ends(loss, values, None, None, is_locked=True) == (0, 10)
    assert scale_ends(loss, values, 2, None, is_locked=True) == (2, 10)
    assert scale_ends(loss, values, None, None, is_locked=False) == (1, 4)
    difference = Scale("nats", (-5, 5), is_diverging=True)
    assert scale_ends(difference, values, None, None, is_locked=False) == (-4, 4)
    for low, high in ((3, 3), (11, None), (None, -1)):
        with pytest.raises(InvalidInputError, match="the ends of the scale are"):
            scale_ends(loss, values, low, high, is_locked=True)
    with pytest.raises(InvalidInputError, match="on a log scale"):
        scale_ends(MEASURES["rank"], values, 0, 5, is_locked=True)
