"""Corpora without text: what imported losses and labels are of when only indexes are known."""

from sqlalchemy.orm import Session

from backend.stages.corpora import CHUNK_PREDICTIONS
from backend.stages.provenance import provenance
from backend.store.tables import Corpus


def textless_corpus(
    session: Session, name: str, key: str, n_predictions: int, files: list[str], imported: str
) -> Corpus:
    """Return a new corpus of a number of predictions, without tokenizer, documents or tokens.

    Args:
        key: hash of what its predictions are, as every result has one.
        files: names of the files that it came with.
        imported: what was imported; both for its provenance.
    """
    corpus = Corpus(
        key=key,
        name=name,
        tokenizer_id=None,
        max_tokens=0,
        prefix=[],
        chunk_predictions=CHUNK_PREDICTIONS,
        n_documents=0,
        n_tokens=0,
        n_predictions=n_predictions,
        n_chunks=-(-n_predictions // CHUNK_PREDICTIONS),
        provenance=provenance(files=files, imported=imported),
    )
    session.add(corpus)
    session.flush()
    return corpus
