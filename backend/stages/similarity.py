"""Similarities: cosines between loss gradients of a selection, stripe by committed stripe."""

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.progress import WORK_LOG, Progress
from backend.read.documents import read_all
from backend.read.similarities import selection_indexes
from backend.stages.devices import Compute
from backend.stages.evaluate_worker import load_registered, silence_transformers
from backend.stages.provenance import note_batch_share, provenance
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.lookup import evaluation_of, tokenizer_of
from backend.store.tables import Selection, Similarity, SimilarityStripe
from backend.store.tables.base import now
from backend.weights.checkpoint_folders import checkpoint_folder

MEASURE = "cosine"
# Cache of unit gradients between stripes; those that do not fit are computed again.
GRADIENT_BYTES = {"cpu": 6 << 30, "cuda": 40 << 30}
MEMORY_SHARE = 0.5  # of the memory that is free


def _gradient_bytes(device: str) -> int:
    limit = GRADIENT_BYTES[device]
    if device == "cuda":
        import torch

        return min(limit, int(MEMORY_SHARE * torch.cuda.mem_get_info()[0]))
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:  # not Linux: assume a small machine
        return limit // 4
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(limit, int(MEMORY_SHARE * free))


def _similarity_row(session: Session, selection: Selection, compute: Compute) -> Similarity:
    from compute.similarity_stripes import n_stripes, rows_per_stripe

    checkpoint = evaluation_of(selection).checkpoint
    rows = rows_per_stripe(checkpoint.model.nonembedding_parameters)
    key = result_key(
        "similarity",
        selection=selection.key,
        checkpoint=checkpoint.key,
        measure=MEASURE,
        stripe_rows=rows,
    )
    row = session.scalars(select(Similarity).where(Similarity.key == key)).one_or_none()
    if row is None:
        row = Similarity(
            key=key,
            selection_id=selection.id,
            checkpoint_id=checkpoint.id,
            measure=MEASURE,
            parameters={},
            size=selection.size,
            stripe_rows=rows,
            n_stripes=n_stripes(selection.size, rows),
            completed_at=None,
            provenance=provenance(device=compute.device, threads=compute.threads),
        )
        session.add(row)
        session.flush()
    return row


def _gradients(
    store: Store, session: Session, selection: Selection, compute: Compute, progress: Progress
) -> tuple[Callable[[int, int], Any], dict[str, Any], list[float]]:
    """Return (function of gradient rows first..last, facts of the parameters, [batch share])."""
    import torch

    from compute import gradients
    from compute.memory import halve_until_fits

    corpus, checkpoint = selection.corpus, evaluation_of(selection).checkpoint
    silence_transformers()
    size = tokenizer_of(corpus).vocabulary_size
    with checkpoint_folder(store, checkpoint, progress) as folder:
        model = load_registered(str(folder.path), folder.key, size, compute.device)
    contexts, targets = gradients.prediction_contexts(
        read_all(session, corpus), selection_indexes(session, selection.id)
    )
    blocks = gradients.linear_blocks(model)
    facts = {
        "parameter_names": [block.name for block in blocks],
        "n_parameters": sum(block.size for block in blocks),
    }

    shares = [compute.batch_share]
    usual_tokens = gradients.GRADIENT_TOKENS[compute.device]

    def batched(first: int, last: int, share: float) -> Any:
        return gradients.prediction_gradients(
            model,
            contexts[first:last],
            targets[first:last],
            tokens_per_batch=max(1, int(usual_tokens * share)),
        )

    def rows(first: int, last: int) -> Any:
        # Backward passes of small models are many short operations: on a busy core several
        # threads wait for each other. The products of large matrices are where they pay.
        torch.set_num_threads(1)
        try:
            # A batch that did not fit once would not fit the next time.
            block, shares[0] = halve_until_fits(
                lambda share: batched(first, last, share), shares[0]
            )
            return block
        finally:
            torch.set_num_threads(compute.threads)

    return rows, facts, shares


class _StoredStripes:
    """Set of stripes that need not be computed; a stripe that is missing is claimed."""

    def __init__(self, store: Store, similarity: Similarity, missing: frozenset[int]) -> None:
        self._store, self._similarity, self._missing = store, similarity, missing
        self._claim = ExitStack()

    def __contains__(self, stripe: object) -> bool:
        if stripe not in self._missing:
            return True
        row = self._similarity
        self._claim.enter_context(self._store.claim(f"stripe {row.id} {stripe}"))
        with self._store.session() as session:
            is_stored = session.scalar(
                select(func.count()).where(
                    SimilarityStripe.similarity_id == row.id, SimilarityStripe.stripe == stripe
                )
            )
        if is_stored:  # by a worker of another job in the meantime
            self.close()
        return bool(is_stored)

    def close(self) -> None:
        """Release the claim."""
        self._claim.close()


def _compute_stripes(
    store: Store,
    similarity: Similarity,
    missing: frozenset[int],
    compute: Compute,
    progress: Progress,
) -> None:
    import torch

    from compute.similarity import cosine_stripes

    torch.set_num_threads(compute.threads)
    with store.session() as session:
        selection = session.get_one(Selection, similarity.selection_id)
        rows, facts, shares = _gradients(store, session, selection, compute, progress)
    with store.begin() as session:
        session.get_one(Similarity, similarity.id).parameters = facts
    size, step = similarity.size, similarity.stripe_rows
    fit = _gradient_bytes(compute.device) // (4 * facts["n_parameters"] * step)
    # Work is counted in pairs of rows: the first stripes are the longest.
    pairs = [(size - s * step) * min(step, size - s * step) for s in range(similarity.n_stripes)]
    stored = sum(pairs) - sum(pairs[s] for s in missing)
    done = _StoredStripes(store, similarity, missing)
    with (
        closing(done),
        progress.task("gradients and cosines", sum(pairs), unit="pairs", done=stored) as bar,
    ):
        stripes = cosine_stripes(
            rows, size, done=done, stripe_rows=step, blocks_in_memory=max(1, fit - 2)
        )
        for stripe, values in stripes:
            WORK_LOG.info("similarity %s stripe %d", similarity.key[:16], stripe)
            with store.begin() as session:
                if shares[0] < 1:
                    note_batch_share(session.get_one(Similarity, similarity.id), shares[0])
                session.add(
                    SimilarityStripe(
                        similarity_id=similarity.id,
                        stripe=stripe,
                        first_row=stripe * step,
                        **arrays.columns(values),
                    )
                )
            done.close()
            bar.advance(pairs[stripe])


def compute_similarity(
    store: Store,
    selection: Selection,
    compute: Compute,
    progress: Progress,
    part: tuple[int, int] = (0, 1),
) -> Similarity:
    """Compute and store the missing stripes of a similarity.

    Args:
        store: receives the stripes.
        selection: predictions to take gradients of.
        compute: device and threads.
        progress: receives progress.
        part: (i, n): only stripes i, i + n, i + 2n, …, so that parts get equal shares of the long
            ones; the similarity is complete when every part is.

    Raises:
        InvalidInputError: the checkpoint cannot be used, or a gradient is zero or not finite.
    """
    with store.begin() as session:
        row = _similarity_row(session, session.get_one(Selection, selection.id), compute)
        if row.completed_at is not None:
            return row
        done = frozenset(
            session.scalars(
                select(SimilarityStripe.stripe).where(SimilarityStripe.similarity_id == row.id)
            )
        )
    own = frozenset(range(part[0], row.n_stripes, part[1]))
    if not own <= done:
        try:
            _compute_stripes(store, row, own - done, compute, progress)
        except (ValueError, MemoryError) as error:
            raise InvalidInputError(str(error), "Finished stripes are kept") from error
    with store.begin() as session:
        count = session.scalar(
            select(func.count())
            .select_from(SimilarityStripe)
            .where(SimilarityStripe.similarity_id == row.id)
        )
        row = session.get_one(Similarity, row.id)
        if count == row.n_stripes:
            row.completed_at = now()
    return row
