"""Experiments on toy networks: one kind of job for every kind of `backend.experiments.registry`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.experiments.kind import ExperimentKind, cell_ranges, complete_parameters
from backend.experiments.registry import KINDS
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.plans import Plan, Slice
from backend.schemas.parameters import Parameters
from backend.store.database import Store
from backend.store.tables import Experiment, ExperimentCell


def _job_kind(kind: ExperimentKind) -> JobKind:
    def validate(store: Store, session: Session, request: Parameters) -> JobParams:
        return complete_parameters(store, kind, request)

    def units(params: JobParams) -> list[range]:
        return cell_ranges(len(kind.parse(params).places()), kind.cells_per_unit)

    def cost(store: Store, session: Session, params: JobParams) -> Cost:
        return Cost(len(units(params)), kind.parse(params).flop(), "FLOP")

    def plan(store: Store, params: JobParams, n_workers: int) -> Plan:
        slices: list[Slice] = [["cells", cells.start, cells.stop] for cells in units(params)]
        return Plan([slices])

    def perform(task: Task) -> None:
        from backend.stages.experiments import run_cells

        cells = range(task.unit[1], task.unit[2])
        run_cells(task.store, kind, task.params, cells, task.compute, task.progress)

    def result(params: JobParams) -> JobResult:
        name = kind.public_id(params)
        return {"experiment": name, "page": kind.page_address(name)}

    return JobKind(
        name=kind.name,
        title=kind.title,
        summary=kind.summary,
        unit="groups of cells" if kind.cells_per_unit > 1 else "cells",
        schema=kind.schema,
        validate=validate,
        cost=cost,
        plan=plan,
        perform=perform,
        result=result,
        has_result=_has_all_cells,
        is_logged=True,
    )


def _has_all_cells(store: Store, result: Mapping[str, Any]) -> bool:
    """Return whether every cell is stored: a job computes missing ones again."""
    with store.session() as session:
        key = Experiment.key.startswith(str(result.get("experiment")))
        row = session.scalars(select(Experiment).where(key)).one_or_none()
        if row is None:
            return False
        n_stored = select(func.count()).where(ExperimentCell.experiment_id == row.id)
        return session.scalar(n_stored) == row.n_cells


EXPERIMENTS = tuple(_job_kind(kind) for kind in KINDS.values())
