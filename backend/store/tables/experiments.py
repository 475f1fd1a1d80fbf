"""Experiments on toy networks: what was asked, and what each cell of it showed."""

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.store.tables.base import ArrayColumns, Base, Created


class Experiment(Base, Created):
    """One experiment: its kind of `experiments.registry.KINDS`, complete parameters and cells.

    `key` is the content key of kind and parameters; its first 16 digits name the experiment
    outside, before and after it is stored.
    """

    __tablename__ = "experiment"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(index=True)
    parameters: Mapped[dict[str, Any]]
    n_cells: Mapped[int]


class ExperimentCell(Base, Created):
    """A cell that is finished: the numbers that sum it up, and what it was computed with."""

    __tablename__ = "experiment_cell"

    experiment_id: Mapped[int] = mapped_column(
        ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True
    )
    cell: Mapped[int] = mapped_column(primary_key=True)
    summary: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]


class ExperimentArray(Base, ArrayColumns):
    """One array of a finished cell, by name: a curve over its steps, or what it ended with."""

    __tablename__ = "experiment_array"

    experiment_id: Mapped[int] = mapped_column(
        ForeignKey("experiment.id", ondelete="CASCADE"), primary_key=True
    )
    cell: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
