"""Quanta discovery from gradients: selections, similarities, discoveries, clusterings, clusters."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.store.tables.base import ArrayColumns, Base, Created, now
from backend.store.tables.corpora import Corpus
from backend.store.tables.evaluations import Evaluation
from backend.store.tables.suites import Checkpoint

# The measure of a similarity that is not here: its clusterings came as labels.
IMPORTED = "imported"


class Selection(Base, ArrayColumns, Created):
    """Prediction indexes that one checkpoint gets right, ascending; the rows of a similarity.

    For imported labels it holds their samples, and nothing is known of how they were selected.
    """

    __tablename__ = "selection"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    corpus_id: Mapped[int] = mapped_column(ForeignKey("corpus.id"))
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluation.id"))
    parameters: Mapped[dict[str, Any]]
    size: Mapped[int]
    n_under_threshold: Mapped[int | None]
    n_induction: Mapped[int | None]

    corpus: Mapped[Corpus] = relationship()
    evaluation: Mapped[Evaluation | None] = relationship()


class Similarity(Base, Created):
    """Cosines between loss gradients of a selection; finished when `completed_at` is set.

    `measure` "imported" stands for the unknown similarity behind imported labels: it has neither
    checkpoint nor stripes.
    """

    __tablename__ = "similarity"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    selection_id: Mapped[int] = mapped_column(ForeignKey("selection.id"))
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoint.id"))
    measure: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    size: Mapped[int]
    stripe_rows: Mapped[int]
    n_stripes: Mapped[int]
    completed_at: Mapped[datetime | None]
    provenance: Mapped[dict[str, Any]]

    selection: Mapped[Selection] = relationship()
    checkpoint: Mapped[Checkpoint | None] = relationship()

    @property
    def is_imported(self) -> bool:
        """Whether it stands for one that is not here."""
        return self.measure == IMPORTED


class SimilarityStripe(Base, ArrayColumns, Created):
    """Rows `first_row` … of the cosine matrix, columns from `first_row` on (float32)."""

    __tablename__ = "similarity_stripe"

    similarity_id: Mapped[int] = mapped_column(ForeignKey("similarity.id"), primary_key=True)
    stripe: Mapped[int] = mapped_column(primary_key=True)
    first_row: Mapped[int]


class Discovery(Base, Created):
    """Clusterings of one similarity for a list of n_clusters, from one eigendecomposition."""

    __tablename__ = "discovery"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    similarity_id: Mapped[int] = mapped_column(ForeignKey("similarity.id"))
    parameters: Mapped[dict[str, Any]]
    completed_at: Mapped[datetime | None]
    rank_frequency: Mapped[dict[str, Any] | None]
    provenance: Mapped[dict[str, Any]]

    similarity: Mapped[Similarity] = relationship()
    clusterings: Mapped[list["Clustering"]] = relationship(
        back_populates="discovery", order_by="Clustering.n_clusters"
    )


class SpectralArray(Base, ArrayColumns, Created):
    """The eigendecomposition of a discovery: `name` is "eigenvalues" or "coordinates"."""

    __tablename__ = "spectral_array"

    discovery_id: Mapped[int] = mapped_column(ForeignKey("discovery.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)


class Clustering(Base, ArrayColumns, Created):
    """Labels (0 = largest cluster) of every row of the selection, for one n_clusters."""

    __tablename__ = "clustering"
    __table_args__ = (UniqueConstraint("discovery_id", "n_clusters"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    discovery_id: Mapped[int] = mapped_column(ForeignKey("discovery.id"))
    n_clusters: Mapped[int]
    inertia: Mapped[float | None]

    discovery: Mapped[Discovery] = relationship(back_populates="clusterings")


class Cluster(Base):
    """One cluster of one clustering; rank 1 holds the most predictions.

    What an import does not tell is NULL: coherence and loss without gradients and models, answers
    and patterns without text.
    """

    __tablename__ = "cluster"
    __table_args__ = (UniqueConstraint("clustering_id", "rank"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    clustering_id: Mapped[int] = mapped_column(ForeignKey("clustering.id"))
    rank: Mapped[int]
    size: Mapped[int]
    n_documents: Mapped[int | None]
    coherence: Mapped[float | None]
    mean_cosine: Mapped[float | None]
    mean_loss_nats: Mapped[float | None]
    answer_entropy_nats: Mapped[float | None]
    top_answer: Mapped[int | None]
    top_answer_share: Mapped[float | None]
    pattern_last: Mapped[int | None]
    pattern_answer: Mapped[int | None]
    pattern_precision: Mapped[float | None]
    pattern_recall: Mapped[float | None]
    neighbours: Mapped[dict[str, Any]] = mapped_column(deferred=True)

    clustering: Mapped[Clustering] = relationship()


class ClusterMember(Base):
    """A prediction in a cluster; position 0 is the most central one."""

    __tablename__ = "cluster_member"
    __table_args__ = (Index("ix_cluster_member_prediction", "prediction", "cluster_id"),)

    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[int]
    prediction: Mapped[int]


class ClusterCurve(Base):
    """Mean and 10-90 % band of a cluster's members along a curve set's axis."""

    __tablename__ = "cluster_curve"

    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"), primary_key=True)
    curve_set_id: Mapped[int] = mapped_column(ForeignKey("curve_set.id"), primary_key=True)
    mean_nats: Mapped[list[float]]
    low_nats: Mapped[list[float]]
    high_nats: Mapped[list[float]]


class Annotation(Base):
    """A person's label, note and tags for a cluster: mutable, apart from every result."""

    __tablename__ = "annotation"

    cluster_id: Mapped[int] = mapped_column(ForeignKey("cluster.id"), primary_key=True)
    label: Mapped[str]
    note: Mapped[str]
    tags: Mapped[list[str]]
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
