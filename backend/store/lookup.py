"""Rows by name; the error of an unknown name lists the known ones."""

from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, undefer
from sqlalchemy.orm.interfaces import ORMOption

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.store.tables import Checkpoint, Corpus, Evaluation, Model, Selection, Suite, Tokenizer

T = TypeVar("T", Corpus, Suite)


def _list_names(names: Iterable[str]) -> str:
    first = list(names)[:12]
    return f"Choose from {', '.join(first)}" if first else "There are none; run `quanta demo`"


def _named(session: Session, table: type[T], name: str, *options: ORMOption) -> T:
    row = session.scalars(select(table).where(table.name == name).options(*options)).one_or_none()
    if row is None:
        remedy = _list_names(session.scalars(select(table.name).order_by(table.name)))
        raise NotFoundError(f"there is no {table.__tablename__} {name!r}", remedy)
    return row


def corpus_named(session: Session, name: str, *options: ORMOption) -> Corpus:
    """Return a corpus by name, with loader options; NotFoundError lists the known names."""
    return _named(session, Corpus, name, *options)


def suite_named(session: Session, name: str) -> Suite:
    """Return a suite by name; NotFoundError lists the known names."""
    return _named(session, Suite, name)


def tokenizer_of_suite(session: Session, name: str) -> Tokenizer | None:
    """Return the tokenizer of a suite, None if there is no such suite or it has none."""
    return session.scalars(
        select(Tokenizer)
        .join(Suite, Suite.tokenizer_key == Tokenizer.key)
        .where(Suite.name == name)
        .options(undefer(Tokenizer.json))
    ).one_or_none()


def model_named(suite: Suite, name: str) -> Model:
    """Return a model of a suite; NotFoundError lists the known names."""
    for model in suite.models:
        if model.name == name:
            return model
    remedy = _list_names(model.name for model in suite.models)
    raise NotFoundError(f"suite {suite.name} has no model {name!r}", remedy)


def checkpoint_at(model: Model, step: int | None) -> Checkpoint:
    """Return a model's checkpoint at a step, the last one for None."""
    for checkpoint in reversed(model.checkpoints):
        if step is None or checkpoint.step == step:
            return checkpoint
    remedy = _list_names(str(c.step) for c in model.checkpoints)
    raise NotFoundError(f"model {model.name} has no step {step}", remedy)


def has_weights(suite: Suite) -> bool:
    """Return whether a suite has weights; suites imported as losses have none."""
    return suite.tokenizer_key is not None


def weights_of(checkpoint: Checkpoint) -> str:
    """Return the location of a checkpoint's weights; InvalidInputError for imported losses."""
    if checkpoint.location is None:
        name = f"{checkpoint.model.name} step {checkpoint.step}"
        raise InvalidInputError(
            f"{name} of suite {checkpoint.model.suite.name} was imported as losses and has no "
            "weights",
            "Add its weights as another suite with `quanta suite add`",
        )
    return checkpoint.location


def evaluation_of(selection: Selection) -> Evaluation:
    """Return the evaluation of a selection; InvalidInputError for imported labels."""
    if selection.evaluation is None:
        raise InvalidInputError(
            f"selection {selection.id} was imported with its labels and has no model",
            "Discover clusters with `quanta discover`",
        )
    return selection.evaluation


def tokenizer_of(corpus: Corpus) -> Tokenizer:
    """Return a corpus's tokenizer; InvalidInputError if it was imported without text."""
    if corpus.tokenizer is None:
        raise InvalidInputError(
            f"corpus {corpus.name} was imported without text and has no tokens",
            "Add the documents with `quanta corpus add`, then import the losses with --corpus",
        )
    return corpus.tokenizer


def finished_evaluations(session: Session, corpus: Corpus, suite: Suite) -> list[Evaluation]:
    """Return finished evaluations of a suite on a corpus, by size, then step."""
    rows = session.scalars(
        select(Evaluation)
        .join(Evaluation.checkpoint)
        .join(Checkpoint.model)
        .where(
            Evaluation.corpus_id == corpus.id,
            Evaluation.completed_at.is_not(None),
            Model.suite_id == suite.id,
        )
        .order_by(Model.nonembedding_parameters, Model.name, Checkpoint.step)
        .options(
            contains_eager(Evaluation.checkpoint)
            .contains_eager(Checkpoint.model)
            .joinedload(Model.suite)
        )
    )
    return list(rows)


def finished_evaluation(session: Session, corpus: Corpus, checkpoint: Checkpoint) -> Evaluation:
    """Return the finished evaluation of a checkpoint; NotReadyError if there is none."""
    row = session.scalars(
        select(Evaluation).where(
            Evaluation.corpus_id == corpus.id,
            Evaluation.checkpoint_id == checkpoint.id,
            Evaluation.completed_at.is_not(None),
        )
    ).one_or_none()
    if row is None:
        name = f"{checkpoint.model.name} step {checkpoint.step}"
        raise NotReadyError(
            f"{name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {checkpoint.model.suite.name} {corpus.name}`",
        )
    return row
