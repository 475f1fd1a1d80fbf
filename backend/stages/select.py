"""Selections: which predictions quanta discovery starts from (arXiv:2303.13506, section 5)."""

import numpy as np
from sqlalchemy import select as sql_select

from backend.errors import InvalidInputError
from backend.progress import WORK_LOG
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.schemas.discover import DiscoverParameters
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Evaluation, Selection

SELECTION_PARAMETERS = {"max_loss_nats", "induction_filter", "stride", "limit"}


def select_predictions(store: Store, evaluation_id: int, params: DiscoverParameters) -> Selection:
    """Store a selection, or return the equal one that is stored.

    Raises:
        InvalidInputError: too few predictions are left.
    """
    from compute import selection

    values = params.model_dump(include=SELECTION_PARAMETERS)
    with store.session() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        key = result_key("selection", evaluation=evaluation.key, **values)
        row = session.scalars(sql_select(Selection).where(Selection.key == key)).one_or_none()
        if row is not None:
            return row
        WORK_LOG.info("select %s", key[:16])
        losses = evaluation_losses(session, evaluation)
        masks = selection.induction_mask(read_all(session, evaluation.corpus))
        corpus_id = evaluation.corpus_id
    try:
        selected = selection.select_predictions(
            losses,
            masks if params.induction_filter else None,
            max_loss_nats=params.max_loss_nats,
            stride=params.stride,
            limit=params.limit,
        )
    except ValueError as error:
        raise InvalidInputError(str(error), "Nothing was stored") from error
    row = Selection(
        key=key,
        corpus_id=corpus_id,
        evaluation_id=evaluation_id,
        parameters=values,
        size=len(selected.indexes),
        n_under_threshold=selected.n_under_threshold,
        n_induction=selected.n_induction,
        **arrays.columns(selected.indexes.astype(np.int64)),
    )
    with store.begin() as session:
        session.add(row)
    return row
