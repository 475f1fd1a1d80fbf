"""Execution of units of work: what a worker's child process runs."""

import logging
from functools import lru_cache

from sqlalchemy.exc import OperationalError

from backend.errors import QuantaError, StoreFullError
from backend.jobs import job_table, leases
from backend.jobs.claims import claims
from backend.jobs.kinds.base import JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.plans import Plan, Unit
from backend.jobs.kinds.registry import KINDS
from backend.jobs.progress import JobProgress
from backend.progress import WORK_LOG, log_work
from backend.settings import Settings
from backend.stages.devices import Compute, resolve
from backend.store.database import Store, open_store
from backend.store.database_errors import as_store_error


def plan(store: Store, kind: str, params: JobParams, n_workers: int) -> Plan:
    """Return the plan of a job for the number of running workers."""
    return KINDS[kind].plan(store, params, max(1, n_workers))


def result(kind: str, params: JobParams) -> JobResult:
    """Return the result of a finished job, with the page that shows it."""
    return KINDS[kind].result(params)


class _ComputedCounter(logging.Handler):
    """Counts lines of quanta.log: units that were computed, not found stored."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.n += 1


_n_computed = _ComputedCounter()


@lru_cache(maxsize=1)
def _open_store(settings: str, worker_id: str) -> tuple[Store, Compute]:
    """Return store and device of this process, opened once."""
    config = Settings.model_validate_json(settings)
    log_work(config.data_dir)
    WORK_LOG.addHandler(_n_computed)
    store = open_store(config)
    store.fence = leases.make_fence(worker_id)
    store.claims = claims(store, worker_id)
    return store, resolve(config, 1)


def perform(
    settings: str,
    worker_id: str,
    job_id: str,
    unit: Unit,
    batch_share: float = 1.0,
) -> tuple[JobResult | None, list[str] | None, bool | None]:
    """Compute and commit one unit of a job.

    Args:
        settings: the worker's, as JSON.
        worker_id: the worker that must hold its lease until the unit is committed.
        job_id: the job; its kind and parameters are read from the store.
        unit: one unit of its plan.
        batch_share: share of the usual batch size; less if the unit did not fit into memory.

    Returns:
        (the unit's part of the job's result or None; problem and remedy if the unit fails whenever
        it is repeated, else None; whether its result was stored already, None if unknown). Problem
        and remedy are text because our errors cannot be sent to another process.
    """
    store, compute = _open_store(settings, worker_id)
    progress = JobProgress(store, job_id)
    kind: JobKind | None = None
    before = _n_computed.n

    def was_stored() -> bool | None:
        return _n_computed.n == before if kind is not None and kind.is_logged else None

    try:
        job = job_table.get_job(store, job_id)
        kind = KINDS[job.kind]
        task = Task(store, compute.with_batch_share(batch_share), job.parameters, unit, progress)
        return kind.perform(task), None, was_stored()
    except QuantaError as error:
        return None, [error.problem, error.remedy], was_stored()
    except (OperationalError, OSError) as error:
        # A full disk stays full: the job fails. A lock or a lost connection passes: the engine
        # retries the unit.
        if isinstance(fault := as_store_error(error), StoreFullError):
            return None, [fault.problem, fault.remedy], was_stored()
        raise
