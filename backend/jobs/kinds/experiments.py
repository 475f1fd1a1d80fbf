"""Experiments on toy networks: a kind of jobs for every kind of `backend.experiments.registry`."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.experiments.kind import ExperimentKind, complete, groups
from backend.experiments.registry import KINDS
from backend.jobs.kinds.base import Checked, Cost, JobKind
from backend.schemas.parameters import Parameters
from backend.store.database import Store
from backend.store.tables import Experiment, ExperimentCell


def _job_kind(kind: ExperimentKind) -> JobKind:
    def check(store: Store, session: Session, asked: Parameters) -> Checked:
        return complete(store, kind, asked)

    def cost(store: Store, session: Session, parameters: Checked) -> Cost:
        n_units = len(groups(len(kind.places(parameters)), kind.group))
        return Cost(n_units, kind.flop(parameters), "FLOP")

    def is_there(store: Store, result: Mapping[str, Any]) -> bool:
        # Every cell, not the name alone: what is missing is computed again.
        with store.session() as session:
            key = Experiment.key.startswith(str(result.get("experiment")))
            row = session.scalars(select(Experiment).where(key)).one_or_none()
            if row is None:
                return False
            done = select(func.count()).where(ExperimentCell.experiment_id == row.id)
            return session.scalar(done) == row.n_cells

    return JobKind(
        name=kind.name,
        title=kind.title,
        summary=kind.summary,
        unit="groups of cells" if kind.group > 1 else "cells",
        schema=kind.schema,
        check=check,
        cost=cost,
        is_there=is_there,
    )


EXPERIMENTS = tuple(_job_kind(kind) for kind in KINDS.values())
