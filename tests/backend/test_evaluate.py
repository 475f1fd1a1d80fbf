"""Evaluations: stored losses, units of work, and what an interruption leaves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import select

from backend.errors import InvalidInputError, NotReadyError, QuantaError
from backend.progress import Silent
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.stages import evaluate_worker
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.devices import Compute
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store.content_hash import content_hash
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    finished_evaluation,
    finished_evaluations,
    suite_named,
)
from backend.store.tables import Checkpoint, Corpus, Evaluation, LossChunk
from compute.checkpoints import load_model
from compute.losses import document_losses
from tests.stores import ONE_CORE, TOKENIZER, Pipeline, small_corpus, small_suite


@pytest.fixture
def planned(store: Store, tmp_path: Path) -> tuple[Store, Corpus, list[int]]:
    """A store with two small checkpoints and a corpus of several chunks, not evaluated."""
    (tmp_path / "suite").mkdir()
    add_suite(store, small_suite(tmp_path / "suite", s1=(64, 2000)), "small", "", Silent())
    corpus = small_corpus(store, documents=12, chunk_predictions=500)
    with store.session() as session:
        ids = list(session.scalars(select(Checkpoint.id).order_by(Checkpoint.step)))
    assert corpus.n_chunks >= 3
    return store, corpus, ids


def test_stored_losses_are_those_of_the_model_within_half_precision(
    pipeline_store: tuple[Store, Pipeline],
) -> None:
    store, pipeline = pipeline_store
    with store.session() as session:
        corpus = session.get_one(Corpus, pipeline.corpus.id)
        documents = read_all(session, corpus)
        for evaluation_id in pipeline.evaluations:
            row = session.get_one(Evaluation, evaluation_id)
            stored = evaluation_losses(session, row)
            model = load_model(Path(row.checkpoint.location), vocabulary_size=2048)
            losses = document_losses(model, documents)
            error = np.abs(stored.astype(np.float64) - losses)
            # Batches of a chunk differ from batches of the whole corpus by rounding.
            assert (error <= np.maximum(1e-3, 5e-4 * losses) + 1e-5).all()
            wide = stored.astype(np.float64)
            assert row.mean_loss_nats == pytest.approx(wide.mean(), rel=1e-12)
            assert row.share_under_tenth_nat == (wide < 0.1).mean()


def test_a_second_run_computes_nothing(
    planned: tuple[Store, Corpus, list[int]], work_log: list[str]
) -> None:
    store, corpus, ids = planned
    first = evaluate(store, corpus, ids, ONE_CORE, Silent())
    assert len(work_log) == len(set(work_log)) == len(ids) * corpus.n_chunks
    work_log.clear()
    before = content_hash(store)
    assert evaluate(store, corpus, ids, ONE_CORE, Silent()) == first
    assert work_log == []
    assert content_hash(store) == before


class _InterruptedError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> int:
    """After this many units, evaluation ends in the middle of the next one."""
    real, done, limit = evaluate_worker.chunk_values, [0], 8

    def chunk_values(*arguments: Any) -> Any:
        done[0] += 1
        if done[0] == limit + 1:
            raise _InterruptedError
        return real(*arguments)

    monkeypatch.setattr(evaluate_worker, "chunk_values", chunk_values)
    return limit


def test_a_half_finished_evaluation_is_invisible_and_is_finished_by_what_is_missing(
    planned: tuple[Store, Corpus, list[int]], interrupted: int, work_log: list[str]
) -> None:
    store, corpus, ids = planned
    assert corpus.n_chunks <= interrupted < 2 * corpus.n_chunks
    with pytest.raises(_InterruptedError):
        evaluate(store, corpus, ids, ONE_CORE, Silent())
    with store.session() as session:
        suite = suite_named(session, "small")
        finished = finished_evaluations(session, corpus, suite)
        assert [e.checkpoint.step for e in finished] == [64]
        with pytest.raises(NotReadyError, match="s1 step 2000 is not evaluated on first-12"):
            finished_evaluation(session, corpus, checkpoint_at(suite.models[0], None))
        half = session.scalars(select(Evaluation).where(Evaluation.checkpoint_id == ids[1])).one()
        assert (half.mean_loss_nats, half.share_under_tenth_nat) == (None, None)
        committed = session.execute(select(LossChunk.evaluation_id, LossChunk.chunk)).all()
    assert len(committed) == interrupted
    work_log.clear()
    evaluate(store, corpus, ids, ONE_CORE, Silent())
    missing = range(interrupted - corpus.n_chunks, corpus.n_chunks)
    assert work_log == [f"evaluate {half.key[:16]} chunk {chunk}" for chunk in missing]
    with store.session() as session:
        finished = finished_evaluations(session, corpus, suite_named(session, "small"))
        assert [e.checkpoint.step for e in finished] == [64, 2000]


@pytest.mark.slow
def test_two_processes_compute_bitwise_what_one_does(
    planned: tuple[Store, Corpus, list[int]], tmp_path: Path
) -> None:
    store, corpus, ids = planned
    evaluate(store, corpus, ids, ONE_CORE, Silent())
    alone = content_hash(store)
    with store.begin() as session:
        for row in session.scalars(select(LossChunk)):
            session.delete(row)
        for evaluation in session.scalars(select(Evaluation)):
            evaluation.completed_at = evaluation.mean_loss_nats = None
    assert content_hash(store) != alone
    evaluate(store, corpus, ids, Compute("cpu", workers=2, threads=1), Silent())
    assert content_hash(store) == alone


def test_documents_without_predictions_are_evaluated_too(
    planned: tuple[Store, Corpus, list[int]], tmp_path: Path
) -> None:
    store, _, ids = planned
    file = tmp_path / "sparse.jsonl"
    texts = ["", "a b c d", "", "x", "e f g h", "", ""]
    file.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    spec = CorpusSpec(name="sparse", files=[file], tokenizer=TOKENIZER, chunk_predictions=1)
    corpus = add_corpus(store, spec, Silent())
    assert corpus.n_chunks == 3  # the last holds two empty documents alone
    (evaluation_id,) = evaluate(store, corpus, ids[1:], ONE_CORE, Silent())
    with store.session() as session:
        losses = evaluation_losses(session, session.get_one(Evaluation, evaluation_id))
    assert losses.shape == (corpus.n_predictions,)


def test_a_corpus_of_another_tokenizer_is_refused(
    planned: tuple[Store, Corpus, list[int]], tmp_path: Path
) -> None:
    store, _, ids = planned
    changed = tmp_path / "tokenizer.json"
    changed.write_text(TOKENIZER.read_text() + "\n")
    (tmp_path / "a.txt").write_text("some words")
    spec = CorpusSpec(name="other", files=[tmp_path / "a.txt"], tokenizer=changed)
    other = add_corpus(store, spec, Silent())
    with pytest.raises(InvalidInputError, match="small and corpus other have different tokenizers"):
        evaluate(store, other, ids, ONE_CORE, Silent())
    with store.session() as session:
        assert session.scalars(select(Evaluation)).all() == []


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_checkpoint_that_broke_after_registration_is_refused_by_name(
    planned: tuple[Store, Corpus, list[int]], workers: int
) -> None:
    store, corpus, ids = planned
    with store.session() as session:
        path = Path(session.get_one(Checkpoint, ids[1]).location) / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = torch.inf
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InvalidInputError, match=r"step2000/model\.safetensors.* infinity"):
        evaluate(store, corpus, ids, replace(ONE_CORE, workers=workers), Silent())
    with store.session() as session:
        finished = finished_evaluations(session, corpus, suite_named(session, "small"))
        assert [e.checkpoint.step for e in finished] in ([64], [] if workers > 1 else [64])


@pytest.mark.slow
def test_a_process_that_is_killed_is_reported_and_what_was_committed_is_kept(
    planned: tuple[Store, Corpus, list[int]], tmp_path: Path
) -> None:
    store, corpus, ids = planned
    with store.session() as session:
        location = session.get_one(Checkpoint, ids[1]).location
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.stages.evaluate.evaluate_worker", _Killed(location))
        with pytest.raises(QuantaError, match="ended unexpectedly"):
            evaluate(store, corpus, ids, replace(ONE_CORE, workers=2), Silent())
    evaluate(store, corpus, ids, ONE_CORE, Silent())
    with store.session() as session:
        finished = finished_evaluations(session, corpus, suite_named(session, "small"))
        assert [e.checkpoint.step for e in finished] == [64, 2000]


class _Killed:
    """The worker module, but for one folder the process kills itself."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.start = evaluate_worker.start

    def chunk_values(self, folder: str, *arguments: Any) -> Any:
        import os
        import signal

        if folder == self.folder:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate_worker.chunk_values(folder, *arguments)


def test_equal_weights_in_two_suites_are_evaluated_for_both(store: Store, tmp_path: Path) -> None:
    corpus = small_corpus(store, documents=4)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        add_suite(store, small_suite(folder, s1=(2000,)), name, "", Silent())
    with store.session() as session:
        ids = list(session.scalars(select(Checkpoint.id)))
    evaluate(store, corpus, ids, ONE_CORE, Silent())
    with store.session() as session:
        home = session.get_one(Corpus, corpus.id)
        finished = [
            finished_evaluations(session, home, suite_named(session, name))
            for name in ("one", "two")
        ]
    assert [len(rows) for rows in finished] == [1, 1]


def test_weights_that_changed_since_they_were_registered_are_refused(
    planned: tuple[Store, Corpus, list[int]], tmp_path: Path
) -> None:
    store, corpus, ids = planned
    path = tmp_path / "suite" / "models" / "s1" / "step2000" / "model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * 3}, path, metadata={"format": "pt"})
    evaluate_worker._model.cache_clear()
    with pytest.raises(InvalidInputError, match="step2000: the files changed since"):
        evaluate(store, corpus, ids[-1:], ONE_CORE, Silent())


def test_an_evaluation_whose_chunks_are_all_there_is_finished_by_the_next_run(
    planned: tuple[Store, Corpus, list[int]],
) -> None:
    store, corpus, ids = planned
    (evaluation_id,) = evaluate(store, corpus, ids[:1], ONE_CORE, Silent())
    with store.begin() as session:  # as two processes leave it that commit the last two at once
        row = session.get_one(Evaluation, evaluation_id)
        mean = row.mean_loss_nats
        row.completed_at = row.mean_loss_nats = row.share_under_tenth_nat = None
    evaluate(store, corpus, ids[:1], ONE_CORE, Silent())
    with store.session() as session:
        row = session.get_one(Evaluation, evaluation_id)
        assert row.completed_at is not None
        assert row.mean_loss_nats == mean
