"""Stored selections and similarities as arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from backend.store import arrays
from backend.store.cache import cache_name, memory_map
from backend.store.database import Store
from backend.store.tables import Clustering, Selection, Similarity, SimilarityStripe


def selection_indexes(session: Session, selection_id: int) -> NDArray[np.int64]:
    """Return the prediction indexes of a selection."""
    row = session.scalars(
        select(Selection).where(Selection.id == selection_id).options(undefer(Selection.data))
    ).one()
    return arrays.read(row, f"selection {row.key[:12]}")


def clustering_labels(session: Session, clustering_id: int) -> NDArray[np.int32]:
    """Return the label of every row of the selection; 0 is the largest cluster."""
    row = session.scalars(
        select(Clustering).where(Clustering.id == clustering_id).options(undefer(Clustering.data))
    ).one()
    return arrays.read(row, f"labels of clustering {row.key[:12]}")


def cosines(store: Store, similarity: Similarity) -> NDArray[np.float32]:
    """Return the full matrix of a finished similarity, memory-mapped."""
    from compute.similarity_stripes import write_stripe

    def fill(array: NDArray[Any]) -> None:
        with store.session() as session:
            for row in session.scalars(
                select(SimilarityStripe)
                .where(SimilarityStripe.similarity_id == similarity.id)
                .order_by(SimilarityStripe.stripe)
                .options(undefer(SimilarityStripe.data))
                .execution_options(yield_per=1)
            ):
                part = arrays.read(row, f"stripe {row.stripe} of {similarity.key[:12]}")
                write_stripe(array, part, row.first_row)

    name = cache_name("cosine", similarity.key)
    return memory_map(store, name, (similarity.size, similarity.size), "float32", fill)
