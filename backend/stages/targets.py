"""p(chosen token) over one document: −ln p(target) at every predicted position."""

from sqlalchemy.exc import IntegrityError

from backend.errors import InvalidInputError
from backend.progress import WORK_LOG, Silent
from backend.read.documents import read_chunk
from backend.read.targets import is_computed, target_key
from backend.stages import evaluate_worker
from backend.stages.evaluate import check_tokenizer
from backend.store import arrays
from backend.store.database import Store
from backend.store.lookup import tokenizer_of
from backend.store.tables import Checkpoint, Corpus, Document, TargetLoss
from backend.weights.checkpoint_folders import checkpoint_folder


def measure_target(
    store: Store, corpus_id: int, document: int, token: int, checkpoint_id: int, device: str
) -> None:
    """Compute and store p(`token`) over a document, unless it is stored.

    Raises:
        InvalidInputError: the checkpoint cannot be used, or has another tokenizer.
    """
    with store.session() as session:
        corpus = session.get_one(Corpus, corpus_id)
        checkpoint = session.get_one(Checkpoint, checkpoint_id)
        check_tokenizer(corpus, checkpoint.model.suite)
        key = target_key(corpus, document, token, checkpoint)
        if is_computed(session, key):
            return
        row = session.get_one(Document, (corpus_id, document))
        chunk = read_chunk(session, corpus, row.chunk)
        tokens = chunk.documents[document - chunk.first_document]
        size = tokenizer_of(corpus).vocabulary_size
    from compute.memory import halve_until_fits

    WORK_LOG.info("target %s", key[:16])
    with checkpoint_folder(store, checkpoint, Silent()) as folder:
        try:
            weights = (str(folder.path), folder.key, size, device)
            values, _ = halve_until_fits(
                lambda share: evaluate_worker.chunk_measures(*weights, [tokens], token, share)
            )
            stored = arrays.stored_losses(values["target"])
        except ValueError as error:
            raise InvalidInputError(
                str(error), "Restore the checkpoint, then submit the job again"
            ) from error
    try:
        with store.begin() as session:
            session.add(
                TargetLoss(
                    key=key,
                    corpus_id=corpus_id,
                    document=document,
                    token=token,
                    checkpoint_id=checkpoint_id,
                    **arrays.columns(stored),
                )
            )
    except IntegrityError:
        # Another worker was faster; equal inputs give equal values.
        return
