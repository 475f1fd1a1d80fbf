"""Selections: which predictions quanta discovery starts from."""

from dataclasses import asdict, dataclass

import numpy as np
from sqlalchemy import select as sql_select

from backend.errors import InvalidInputError
from backend.progress import WORK_LOG
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Evaluation
from backend.store.tables import Selection as SelectionRow


@dataclass(frozen=True)
class SelectionSpec:
    """How predictions are chosen (science: arXiv:2303.13506, section 5).

    Attributes:
        threshold_nats: keep losses below it; published 0.1.
        induction_filter: drop predictions that plain induction explains.
        stride: keep every stride-th; published 50.
        limit: keep at most so many; published 10,000.
    """

    threshold_nats: float = 0.1
    induction_filter: bool = True
    stride: int = 1
    limit: int = 10_000


def select_predictions(store: Store, evaluation_id: int, spec: SelectionSpec) -> SelectionRow:
    """Store a selection, or return the equal one that is stored.

    Raises:
        InvalidInputError: a parameter out of range, or too few predictions left.
    """
    from compute import selection

    if not 0 < spec.threshold_nats < np.inf:
        raise InvalidInputError(
            f"threshold is {spec.threshold_nats}", "Choose nats above 0", "threshold"
        )
    with store.session() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        key = result_key("selection", evaluation=evaluation.key, **asdict(spec))
        row = session.scalars(sql_select(SelectionRow).where(SelectionRow.key == key)).one_or_none()
        if row is not None:
            return row
        WORK_LOG.info("select %s", key[:16])
        losses = evaluation_losses(session, evaluation)
        masks = selection.induction_mask(read_all(session, evaluation.corpus))
        corpus_id = evaluation.corpus_id
    try:
        chosen = selection.select_predictions(
            losses,
            masks if spec.induction_filter else None,
            threshold_nats=spec.threshold_nats,
            stride=spec.stride,
            limit=spec.limit,
        )
    except ValueError as error:
        raise InvalidInputError(str(error), "Nothing was stored") from error
    row = SelectionRow(
        key=key,
        corpus_id=corpus_id,
        evaluation_id=evaluation_id,
        parameters=asdict(spec),
        size=len(chosen.indexes),
        n_under_threshold=chosen.n_under_threshold,
        n_induction=chosen.n_induction,
        **arrays.columns(chosen.indexes.astype(np.int64)),
    )
    with store.begin() as session:
        session.add(row)
    return row
