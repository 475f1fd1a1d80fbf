"""All kinds of jobs. A new kind is one module here and its line below."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.jobs.kinds.add_corpus import ADD_CORPUS
from backend.jobs.kinds.base import JobKind, JobParams
from backend.jobs.kinds.classify import CLASSIFY
from backend.jobs.kinds.discover import DISCOVER
from backend.jobs.kinds.evaluate import EVALUATE
from backend.jobs.kinds.experiments import EXPERIMENTS
from backend.jobs.kinds.export import EXPORT
from backend.jobs.kinds.import_labels import IMPORT_LABELS
from backend.jobs.kinds.import_losses import IMPORT_LOSSES
from backend.jobs.kinds.measure import MEASURE
from backend.jobs.kinds.paste import PASTE
from backend.jobs.kinds.train_suite import TRAIN_SUITE
from backend.store.database import Store

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


def find_kind(name: str) -> JobKind:
    """Return the kind of a name.

    Raises:
        InvalidInputError: no kind has this name.
    """
    if name not in KINDS:
        raise InvalidInputError(f"kind {name!r}", f"Choose from {', '.join(KINDS)}", "kind")
    return KINDS[name]


def validate_params(
    store: Store, session: Session, name: str, request: Mapping[str, Any]
) -> JobParams:
    """Return the complete parameters of a job.

    Raises:
        InvalidInputError: a parameter is missing or cannot be used; the message names it.
        NotFoundError: an unknown corpus, document, suite, model or step.
        NotReadyError: something must be computed, or allowed, first.
    """
    kind = find_kind(name)
    return kind.validate(store, session, kind.schema.parse(request))
