"""Names of stored suites, corpora and models, for forms."""

from dataclasses import dataclass

from sqlalchemy import select

from backend.store.database import Store
from backend.store.tables import Corpus, Model, Suite


@dataclass(frozen=True)
class StoredNames:
    """Unique names of suites, corpora and models, oldest first."""

    suites: tuple[str, ...]
    corpora: tuple[str, ...]
    models: tuple[str, ...]


def stored_names(store: Store) -> StoredNames:
    """Return the names of stored suites, corpora and models."""
    with store.session() as session:
        return StoredNames(
            suites=tuple(session.scalars(select(Suite.name).order_by(Suite.id))),
            corpora=tuple(session.scalars(select(Corpus.name).order_by(Corpus.id))),
            models=tuple(dict.fromkeys(session.scalars(select(Model.name).order_by(Model.id)))),
        )
