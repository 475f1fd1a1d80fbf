"""Corpora without text, for imported losses and labels whose predictions have only an index."""

from sqlalchemy.orm import Session

from backend.stages.corpora import CHUNK_PREDICTIONS
from backend.stages.provenance import provenance
from backend.store.tables import Corpus


def textless_corpus(
    session: Session, name: str, key: str, n_predictions: int, files: list[str], imported: str
) -> Corpus:
    """Create a corpus of `n_predictions` without tokenizer, documents or tokens.

    Its provenance has the names of the imported `files` and the description `imported`.
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
