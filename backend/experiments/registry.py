"""All kinds of experiments; jobs, commands and API routes follow from this list."""

from backend.errors import InvalidInputError
from backend.experiments.grokking.critical_fraction import CRITICAL_FRACTION
from backend.experiments.grokking.spec import PHASE_DIAGRAM
from backend.experiments.kind import ExperimentKind
from backend.experiments.modular_addition.spec import MODULAR_ADDITION
from backend.experiments.omnigrok.spec import OMNIGROK
from backend.experiments.sparse_parity.spec import SPARSE_PARITY

KINDS: dict[str, ExperimentKind] = {
    kind.name: kind
    for kind in (PHASE_DIAGRAM, CRITICAL_FRACTION, OMNIGROK, MODULAR_ADDITION, SPARSE_PARITY)
}


def experiment_kind(name: str) -> ExperimentKind:
    """Return a kind of experiment.

    Raises:
        InvalidInputError: unknown name.
    """
    if name not in KINDS:
        raise InvalidInputError(
            f"there is no kind of experiment {name!r}", f"Choose from {', '.join(KINDS)}", "kind"
        )
    return KINDS[name]
