"""The work of every kind of job: what a worker's child runs."""

import logging
from functools import lru_cache

from sqlalchemy.exc import OperationalError

from backend.errors import QuantaError, StoreFullError
from backend.jobs import leases
from backend.jobs.claims import claims
from backend.jobs.progress import JobProgress
from backend.jobs.work.base import Made, Parameters, Plan, Task, Unit, Work
from backend.jobs.work.curves import CLASSIFY, EVALUATE
from backend.jobs.work.discover import DISCOVER
from backend.jobs.work.exchange import ADD_CORPUS, EXPORT, IMPORT_LABELS, IMPORT_LOSSES
from backend.jobs.work.experiments import EXPERIMENTS
from backend.jobs.work.tokens import MEASURE, PASTE
from backend.jobs.work.train_suite import TRAIN_SUITE
from backend.progress import WORK_LOG, log_work
from backend.settings import Settings
from backend.stages.devices import Compute, resolve
from backend.store.database import Store, open_store
from backend.store.database_errors import fault_of

# One for every kind of backend.jobs.kinds.KINDS.
WORK: dict[str, Work] = {
    "evaluate": EVALUATE,
    "classify": CLASSIFY,
    "discover": DISCOVER,
    "measure": MEASURE,
    "paste": PASTE,
    "add_corpus": ADD_CORPUS,
    "train_suite": TRAIN_SUITE,
    "import_losses": IMPORT_LOSSES,
    "import_labels": IMPORT_LABELS,
    "export": EXPORT,
    **EXPERIMENTS,
}


def plan(store: Store, kind: str, parameters: Parameters, n_workers: int) -> Plan:
    """Return how a job is cut up for the workers that live now."""
    return WORK[kind].plan(store, parameters, max(1, n_workers))


def result(kind: str, parameters: Parameters) -> Made:
    """Return what a finished job made, and the page that shows it."""
    return WORK[kind].result(parameters)


class _Computed(logging.Handler):
    """Counts what is computed, not merely found stored."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.n += 1


_computed = _Computed()


@lru_cache(maxsize=1)
def _opened(settings: str, worker_id: str) -> tuple[Store, Compute]:
    # One a process: what it writes to quanta.log says which units were computed.
    config = Settings.model_validate_json(settings)
    log_work(config.data_dir)
    WORK_LOG.addHandler(_computed)
    store = open_store(config)
    store.fence = leases.make_fence(worker_id)
    store.claims = claims(store, worker_id)
    return store, resolve(config, 1)


def perform(
    settings: str,
    worker_id: str,
    job_id: str,
    kind: str,
    parameters: Parameters,
    unit: Unit,
    batch_share: float = 1.0,
) -> tuple[Made | None, list[str] | None, bool | None]:
    """Compute and commit one unit of a job.

    Args:
        settings: the worker's, as JSON.
        worker_id: whose lease is to last until what is computed is committed.
        job_id: of the job, for its progress.
        kind: of the job.
        parameters: of the job, as checked.
        unit: one of its plan.
        batch_share: of the usual batch; less where the unit did not fit into memory.

    Returns:
        What it made, if that is part of the job's result; None, or problem and remedy if it
        cannot be done: the same unit would fail again (words, since an error of ours does not
        survive the way to another process); and whether it was found stored, None if that is not
        known.
    """
    store, compute = _opened(settings, worker_id)
    progress = JobProgress(store, job_id)
    before = _computed.n

    def is_stored() -> bool | None:
        return _computed.n == before if WORK[kind].is_counted else None

    task = Task(store, compute.sharing(batch_share), parameters, unit, progress)
    try:
        return WORK[kind].perform(task), None, is_stored()
    except QuantaError as error:
        return None, [error.problem, error.remedy], is_stored()
    except (OperationalError, OSError) as error:
        # A full disk stays full: the job says so. A lock or a lost connection passes: the engine
        # tries the same unit again.
        if isinstance(fault := fault_of(error), StoreFullError):
            return None, [fault.problem, fault.remedy], is_stored()
        raise
