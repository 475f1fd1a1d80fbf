"""Evaluations (losses of one checkpoint on one corpus) and curve sets built from them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.store.tables.base import ArrayColumns, Base, Created
from backend.store.tables.corpora import Corpus
from backend.store.tables.suites import Checkpoint, Model, Suite


class Evaluation(Base, Created):
    """Per-token losses of a checkpoint; finished when `completed_at` is set.

    Summary columns are NULL until then: nothing half written reads as finished.
    """

    __tablename__ = "evaluation"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"), index=True)
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("checkpoint.id"), index=True)
    n_chunks: Mapped[int]
    completed_at: Mapped[datetime | None]
    mean_loss_nats: Mapped[float | None]
    share_under_tenth_nat: Mapped[float | None]
    provenance: Mapped[dict[str, Any]]

    corpus: Mapped[Corpus] = relationship()
    checkpoint: Mapped[Checkpoint] = relationship()


class LossChunk(Base, ArrayColumns, Created):
    """Float16 losses (nats) of one chunk of predictions."""

    __tablename__ = "loss_chunk"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id"), primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)


class CurveSet(Base, Created):
    """Curves of all predictions along one axis, with class and scores.

    Axis "N": final checkpoints of a suite over size. Axis "S": one model over training steps;
    step 0 has no place on a log axis and is left out.
    """

    __tablename__ = "curve_set"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"), index=True)
    suite_id: Mapped[int] = mapped_column(ForeignKey("suite.id"), index=True)
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    axis: Mapped[str]
    axis_values: Mapped[list[float]]
    evaluation_ids: Mapped[list[int]]
    thresholds: Mapped[dict[str, Any]]
    n_chunks: Mapped[int]
    completed_at: Mapped[datetime | None]
    summary: Mapped[dict[str, Any] | None]

    corpus: Mapped[Corpus] = relationship()
    suite: Mapped[Suite] = relationship()
    model: Mapped[Model | None] = relationship()


class CurveChunk(Base, ArrayColumns, Created):
    """One score (or the class) of one chunk of predictions; `name` is the score's."""

    __tablename__ = "curve_chunk"

    curve_set_id: Mapped[int] = mapped_column(ForeignKey("curve_set.id"), primary_key=True)
    chunk: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
