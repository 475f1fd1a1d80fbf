"""Finding rows by the names people use; a miss says what there is."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, undefer

from backend.errors import InvalidInputError, NotFoundError, NotReadyError
from backend.store.tables import Checkpoint, Corpus, Evaluation, Model, Selection, Suite, Tokenizer


def _known(names: Iterable[str]) -> str:
    listed = list(names)[:12]
    return f"There is: {', '.join(listed)}" if listed else "There is none yet; run `quanta demo`"


def corpus_named(session: Session, name: str) -> Corpus:
    """Return a corpus by name; NotFoundError lists what there is."""
    row = session.scalars(select(Corpus).where(Corpus.name == name)).one_or_none()
    if row is None:
        known = _known(session.scalars(select(Corpus.name).order_by(Corpus.name)))
        raise NotFoundError(f"there is no corpus {name!r}", known)
    return row


def suite_named(session: Session, name: str) -> Suite:
    """Return a suite by name; NotFoundError lists what there is."""
    row = session.scalars(select(Suite).where(Suite.name == name)).one_or_none()
    if row is None:
        known = _known(session.scalars(select(Suite.name).order_by(Suite.name)))
        raise NotFoundError(f"there is no suite {name!r}", known)
    return row


def tokenizer_of_suite(session: Session, name: str) -> Tokenizer | None:
    """Return the tokenizer of a suite, None if there is no such suite or it was not kept."""
    return session.scalars(
        select(Tokenizer)
        .join(Suite, Suite.tokenizer_key == Tokenizer.key)
        .where(Suite.name == name)
        .options(undefer(Tokenizer.json))
    ).one_or_none()


def model_named(suite: Suite, name: str) -> Model:
    """Return a model of a suite; NotFoundError lists what there is."""
    for model in suite.models:
        if model.name == name:
            return model
    known = _known(model.name for model in suite.models)
    raise NotFoundError(f"suite {suite.name} has no model {name!r}", known)


def checkpoint_at(model: Model, step: int | None) -> Checkpoint:
    """Return a model's checkpoint at a step, the last one for None."""
    for checkpoint in reversed(model.checkpoints):
        if step is None or checkpoint.step == step:
            return checkpoint
    known = _known(str(c.step) for c in model.checkpoints)
    raise NotFoundError(f"model {model.name} has no step {step}", known)


def has_weights(suite: Suite) -> bool:
    """Whether there are weights behind a suite's losses; imported losses come without."""
    return suite.tokenizer_key is not None


def weights_of(checkpoint: Checkpoint) -> str:
    """Return where a checkpoint's weights are; InvalidInputError if only losses were imported."""
    if checkpoint.location is None:
        name = f"{checkpoint.model.name} step {checkpoint.step}"
        raise InvalidInputError(
            f"{name} of suite {checkpoint.model.suite.name} was imported as losses: it has no "
            "weights to evaluate or to take gradients of",
            "Register its weights as a suite of their own with `quanta suite add`",
        )
    return checkpoint.location


def evaluation_of(selection: Selection) -> Evaluation:
    """Return what a selection was selected under; InvalidInputError if its labels came without."""
    if selection.evaluation is None:
        raise InvalidInputError(
            f"selection {selection.id} stands for imported labels: no model selected it",
            "Discover clusters of your own with `quanta discover`",
        )
    return selection.evaluation


def tokenizer_of(corpus: Corpus) -> Tokenizer:
    """Return a corpus's tokenizer; InvalidInputError if it was imported without text."""
    if corpus.tokenizer is None:
        raise InvalidInputError(
            f"corpus {corpus.name} was imported without text: it has no tokens",
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
        .options(contains_eager(Evaluation.checkpoint).contains_eager(Checkpoint.model))
    )
    return list(rows)


def finished_evaluation(session: Session, corpus: Corpus, checkpoint: Checkpoint) -> Evaluation:
    """Return the finished evaluation of a checkpoint; NotReadyError says how to make it."""
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
