"""Kinds of jobs. A new one is a JobKind here and its work in backend.jobs.work."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.jobs.kinds.add_corpus import ADD_CORPUS
from backend.jobs.kinds.base import Checked, Cost, JobKind, parsed
from backend.jobs.kinds.classify import CLASSIFY
from backend.jobs.kinds.discover import DISCOVER
from backend.jobs.kinds.evaluate import EVALUATE
from backend.jobs.kinds.experiments import EXPERIMENTS
from backend.jobs.kinds.export import EXPORT
from backend.jobs.kinds.imports import IMPORT_LABELS, IMPORT_LOSSES
from backend.jobs.kinds.measure import MEASURE
from backend.jobs.kinds.paste import PASTE
from backend.jobs.kinds.train_suite import TRAIN_SUITE
from backend.store.database import Store

__all__ = ["KINDS", "Cost", "JobKind", "checked", "kind_named"]

KINDS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        EVALUATE,
        CLASSIFY,
        DISCOVER,
        MEASURE,
        PASTE,
        ADD_CORPUS,
        TRAIN_SUITE,
        IMPORT_LOSSES,
        IMPORT_LABELS,
        EXPORT,
        *EXPERIMENTS,
    )
}


def kind_named(name: str) -> JobKind:
    """Return a kind of job.

    Raises:
        InvalidInputError: there is none of that name.
    """
    if name not in KINDS:
        raise InvalidInputError(f"kind {name!r}", f"Choose from {', '.join(KINDS)}", "kind")
    return KINDS[name]


def checked(store: Store, session: Session, name: str, asked: Mapping[str, Any]) -> Checked:
    """Return the complete parameters of a job.

    Raises:
        InvalidInputError: a parameter is missing, or cannot be used; names it.
        NotFoundError: an unknown corpus, document, suite, model or step.
        NotReadyError: something must be computed, or allowed, first.
    """
    kind = kind_named(name)
    return kind.check(store, session, parsed(kind, asked))
