"""Checkpoints of a suite in the parameters of jobs."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.jobs.kinds.base import Task
from backend.progress import Silent
from backend.store.lookup import checkpoint_at, finished_evaluations, model_named, suite_named
from backend.store.tables import Checkpoint, Corpus, Evaluation, Suite


def as_pairs(checkpoints: Sequence[Checkpoint]) -> list[list[str | int]]:
    """Return checkpoints as [model, step]."""
    return [[c.model.name, c.step] for c in checkpoints]


def find_checkpoints(suite: Suite, pairs: Sequence[Sequence[Any]]) -> list[Checkpoint]:
    """Return the checkpoints at [model, step]; pairs that the suite no longer has are skipped."""
    stored = {(m.name, c.step): c for m in suite.models for c in m.checkpoints}
    return [stored[model, step] for model, step in pairs if (model, step) in stored]


def forward_flop(checkpoints: Sequence[Checkpoint], tokens: int) -> float:
    """Return 2N floating-point operations a token, summed (arXiv:2001.08361, section 2.1)."""
    return 2.0 * tokens * sum(c.model.nonembedding_parameters for c in checkpoints)


def require_evaluations(session: Session, corpus: Corpus, suite: Suite) -> list[Evaluation]:
    """Return the finished evaluations of a suite on a corpus.

    Raises:
        NotReadyError: there are none.
    """
    evaluations = finished_evaluations(session, corpus, suite)
    if not evaluations:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`, or submit a job for it",
        )
    return evaluations


def checkpoint_id(task: Task, session: Session, model: str, step: int) -> int:
    """Return the id of a checkpoint whose weights are here or may be fetched.

    Raises:
        NotReadyError: the weights are on a hub, and jobs may not fetch.
    """
    from backend.weights.checkpoint_folders import is_available_locally

    suite = suite_named(session, task.params["suite"])
    checkpoint = checkpoint_at(model_named(suite, model), step)
    # A request must not make this machine fetch unless its operator allowed that.
    if not task.store.settings.jobs_fetch and not is_available_locally(
        task.store, checkpoint, Silent()
    ):
        raise NotReadyError(
            f"the weights of {model} at step {step} are on a hub, and jobs may not fetch",
            "Start the worker with QUANTA_JOBS_FETCH=true",
        )
    return checkpoint.id
