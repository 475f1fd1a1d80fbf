"""Checkpoints and evaluations that the parameters of jobs and stages name."""

from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.schemas.discover import DiscoverParameters
from backend.schemas.evaluate import EvaluateParameters
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    has_weights,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.store.tables import Checkpoint, Evaluation, Suite


def require_weights(suite: Suite) -> Suite:
    """Return a suite that has weights.

    Raises:
        InvalidInputError: it was imported as losses.
    """
    if not has_weights(suite):
        raise InvalidInputError(
            f"suite {suite.name} was imported as losses and has no weights",
            "Choose another suite; `quanta suite add` registers weights",
            "suite",
        )
    return suite


def requested_checkpoints(session: Session, params: EvaluateParameters) -> list[Checkpoint]:
    """Return the checkpoints to evaluate, each once.

    Raises:
        InvalidInputError: the suite has no weights, or another tokenizer than the corpus.
        NotFoundError: an unknown corpus, suite, model or step.
    """
    corpus = corpus_named(session, params.corpus)
    suite = require_weights(suite_named(session, params.suite))
    if tokenizer_of(corpus).key != suite.tokenizer_key:
        raise InvalidInputError(
            f"corpus {corpus.name} has another tokenizer than suite {suite.name}",
            "Name a corpus that was added with the suite's tokenizer",
            "corpus",
        )
    models = [model_named(suite, name) for name in params.models or ()] or suite.models
    checkpoints = {
        (model.name, step): checkpoint_at(model, step)
        for model in models
        for step in (params.steps or [c.step for c in model.checkpoints])
    }
    return list(checkpoints.values())


def reference_evaluation(session: Session, params: DiscoverParameters) -> Evaluation:
    """Return the finished evaluation that a discovery starts from.

    Raises:
        InvalidInputError: the suite has no weights.
        NotFoundError: an unknown corpus, suite, model or step.
        NotReadyError: the checkpoint is not evaluated on the corpus.
    """
    corpus = corpus_named(session, params.corpus)
    suite = require_weights(suite_named(session, params.suite))
    model = model_named(suite, params.model) if params.model else suite.models[-1]
    return finished_evaluation(session, corpus, checkpoint_at(model, params.step))
