"""Losses of many predictions under every evaluated checkpoint of a suite."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.read.evaluations import list_evaluations
from backend.read.losses import loss_matrix
from backend.read.paging import check_limit
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Corpus, Evaluation, Suite

MAX_ROWS = 65_536


@dataclass(frozen=True)
class LossBlock:
    """Losses (nats, float16) of predictions first, first + 1, …; a column a (model, step)."""

    first: int
    columns: tuple[tuple[str, int], ...]
    values: NDArray[np.float16]


@dataclass(frozen=True)
class SuiteLosses:
    """All finished evaluations of a suite on a corpus, with their memory-mapped losses."""

    evaluations: Sequence[Evaluation]
    values: NDArray[np.float16]

    def column(self, evaluation_id: int) -> NDArray[np.float16]:
        """Return the losses of one evaluation."""
        ids = [evaluation.id for evaluation in self.evaluations]
        return self.values[:, ids.index(evaluation_id)]

    def columns(self, evaluation_ids: Sequence[int]) -> list[int]:
        """Return the column numbers of evaluations."""
        ids = [evaluation.id for evaluation in self.evaluations]
        return [ids.index(i) for i in evaluation_ids]


def suite_losses(store: Store, session: Session, corpus: Corpus, suite: Suite) -> SuiteLosses:
    """Return the losses of a suite on a corpus.

    Raises:
        NotReadyError: the suite is not evaluated on the corpus.
    """
    return losses_of(store, corpus, suite, list_evaluations(session, corpus, suite))


def losses_of(
    store: Store, corpus: Corpus, suite: Suite, evaluations: Sequence[Evaluation]
) -> SuiteLosses:
    """Return the losses of all finished evaluations of a suite on a corpus.

    Raises:
        NotReadyError: there are none.
    """
    if not evaluations:
        raise NotReadyError(
            f"suite {suite.name} is not evaluated on {corpus.name}",
            f"Run `quanta evaluate {suite.name} {corpus.name}`",
        )
    return SuiteLosses(evaluations, loss_matrix(store, corpus, evaluations))


def losses(store: Store, corpus: str, suite: str, first: int, limit: int) -> LossBlock:
    """Return losses of predictions first … first + limit - 1.

    Raises:
        NotFoundError: an unknown corpus or suite.
        NotReadyError: the suite is not evaluated on the corpus.
        InvalidInputError: the limit is out of range.
    """
    check_limit(limit, MAX_ROWS)
    with store.session() as session:
        corpus_row = corpus_named(session, corpus)
        block = suite_losses(store, session, corpus_row, suite_named(session, suite))
        columns = tuple((e.checkpoint.model.name, e.checkpoint.step) for e in block.evaluations)
    return LossBlock(first, columns, np.array(block.values[first : first + limit]))
