"""Selections: which predictions quanta discovery starts from (arXiv:2303.13506, section 5)."""

import numpy as np
from sqlalchemy import select as sql_select

from backend.errors import InvalidInputError
from backend.progress import WORK_LOG
from backend.read.checkpoints import reference_evaluation
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.schemas.discover import DiscoverParameters
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Selection

SELECTION_PARAMETERS = {"max_loss_nats", "induction_filter", "stride", "limit"}


def select_predictions(store: Store, params: DiscoverParameters) -> Selection:
    """Store the selection of a discovery, or return the equal one that is stored.

    Raises:
        InvalidInputError: too few predictions are selected, or too few for `n_clusters`.
        NotFoundError: an unknown corpus, suite, model or step.
        NotReadyError: the checkpoint is not evaluated on the corpus.
    """
    from compute import selection

    values = params.model_dump(include=SELECTION_PARAMETERS)
    with store.session() as session:
        evaluation = reference_evaluation(session, params)
        key = result_key("selection", evaluation=evaluation.key, **values)
        row = session.scalars(sql_select(Selection).where(Selection.key == key)).one_or_none()
        if row is not None:
            return _check_size(row, params)
        WORK_LOG.info("select %s", key[:16])
        losses = evaluation_losses(session, evaluation)
        masks = selection.induction_mask(read_all(session, evaluation.corpus))
        corpus_id, evaluation_id = evaluation.corpus_id, evaluation.id
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
    return _check_size(row, params)


def _check_size(row: Selection, params: DiscoverParameters) -> Selection:
    if max(params.n_clusters) >= row.size:
        raise InvalidInputError(
            f"n_clusters {params.n_clusters} for {row.size} predictions",
            f"Choose numbers from 2 to {row.size - 1}",
            "n_clusters",
        )
    return row
