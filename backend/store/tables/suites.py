"""Suites of models and their checkpoints."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.store.tables.base import Base, Created


class Suite(Base, Created):
    """Models of one family, trained on the same data in the same order.

    `tokenizer_key` is NULL for a suite that was imported as losses.
    """

    __tablename__ = "suite"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]
    tokenizer_key: Mapped[str | None]

    models: Mapped[list["Model"]] = relationship(
        back_populates="suite", order_by="Model.nonembedding_parameters"
    )


class Model(Base):
    """One size of a suite; N = `nonembedding_parameters`. `parameters` is NULL if not known."""

    __tablename__ = "model"
    __table_args__ = (UniqueConstraint("suite_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    suite_id: Mapped[int] = mapped_column(ForeignKey("suite.id"))
    name: Mapped[str]
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    nonembedding_parameters: Mapped[int] = mapped_column(BigInteger)
    config: Mapped[dict[str, Any]]

    suite: Mapped[Suite] = relationship(back_populates="models")
    checkpoints: Mapped[list["Checkpoint"]] = relationship(
        back_populates="model", order_by="Checkpoint.step"
    )


class Checkpoint(Base, Created):
    """Weights of one model at one training step; `key` is the hash of its files.

    `location` is NULL where only losses were imported: there are no weights to load, and `key` is
    the hash of those losses.
    """

    __tablename__ = "checkpoint"
    __table_args__ = (UniqueConstraint("model_id", "step"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    step: Mapped[int]
    tokens_seen: Mapped[int | None] = mapped_column(BigInteger)
    key: Mapped[str]
    location: Mapped[str | None]

    model: Mapped[Model] = relationship(back_populates="checkpoints")
