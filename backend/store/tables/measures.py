"""Measures of predictions beside the loss: rank, entropy, and p of a chosen token."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.store.tables.base import ArrayColumns, Base, Created
from backend.store.tables.suites import Checkpoint


class MeasureChunk(Base, ArrayColumns, Created):
    """One measure of one chunk of predictions of an evaluation.

    `name` is "rank" (uint16, from 1, saturating at 65,535) or "entropy" (float16, nats);
    `version` is that of the code that measured, so that better code never overwrites.
    """

    __tablename__ = "measure_chunk"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)


class TargetLoss(Base, ArrayColumns, Created):
    """−ln p(`token`) in the place of every predicted token of a document (float16, nats)."""

    __tablename__ = "target_loss"
    __table_args__ = (
        Index("ix_target_loss_document", "corpus_id", "document", "token"),
        Index("ix_target_loss_checkpoint_id", "checkpoint_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"))
    document: Mapped[int]
    token: Mapped[int]
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoint.id"))

    checkpoint: Mapped[Checkpoint] = relationship()
