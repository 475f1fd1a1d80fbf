"""first schema"""

import sqlalchemy as sa

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


ARRAY_TABLES = (
    "token_chunk",
    "loss_chunk",
    "curve_chunk",
    "selection",
    "similarity_stripe",
    "spectral_array",
    "clustering",
)


def upgrade() -> None:
    op.create_table(
        "suite",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("tokenizer_key", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suite")),
        sa.UniqueConstraint("name", name=op.f("uq_suite_name")),
    )
    op.create_table(
        "tokenizer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("vocabulary_size", sa.Integer(), nullable=False),
        sa.Column("json", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokenizer")),
        sa.UniqueConstraint("key", name=op.f("uq_tokenizer_key")),
    )
    op.create_table(
        "corpus",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tokenizer_id", sa.Integer(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.JSON(), nullable=False),
        sa.Column("chunk_predictions", sa.Integer(), nullable=False),
        sa.Column("n_documents", sa.Integer(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("n_predictions", sa.Integer(), nullable=False),
        sa.Column("n_chunks", sa.Integer(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tokenizer_id"], ["tokenizer.id"], name=op.f("fk_corpus_tokenizer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corpus")),
        sa.UniqueConstraint("key", name=op.f("uq_corpus_key")),
        sa.UniqueConstraint("name", name=op.f("uq_corpus_name")),
    )
    op.create_table(
        "model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("suite_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("nonembedding_parameters", sa.BigInteger(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["suite_id"], ["suite.id"], name=op.f("fk_model_suite_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("suite_id", "name", name=op.f("uq_model_suite_id_name")),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("tokens_seen", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_checkpoint_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoint")),
        sa.UniqueConstraint("model_id", "step", name=op.f("uq_checkpoint_model_id_step")),
    )
    op.create_table(
        "curve_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("corpus_id", sa.Integer(), nullable=False),
        sa.Column("suite_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=True),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("axis_values", sa.JSON(), nullable=False),
        sa.Column("evaluation_ids", sa.JSON(), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("n_chunks", sa.Integer(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpus.id"], name=op.f("fk_curve_set_corpus_id")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_curve_set_model_id")),
        sa.ForeignKeyConstraint(["suite_id"], ["suite.id"], name=op.f("fk_curve_set_suite_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_curve_set")),
        sa.UniqueConstraint("key", name=op.f("uq_curve_set_key")),
    )
    with op.batch_alter_table("curve_set", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_curve_set_corpus_id"), ["corpus_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_curve_set_suite_id"), ["suite_id"], unique=False)

    op.create_table(
        "document",
        sa.Column("corpus_id", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("license", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("n_tokens", sa.Integer(), nullable=False),
        sa.Column("n_predictions", sa.Integer(), nullable=False),
        sa.Column("is_cut", sa.Boolean(), nullable=False),
        sa.Column("first_prediction", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpus.id"], name=op.f("fk_document_corpus_id")),
        sa.PrimaryKeyConstraint("corpus_id", "index", name=op.f("pk_document")),
    )
    with op.batch_alter_table("document", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_document_first_prediction"), ["first_prediction"], unique=False
        )

    op.create_table(
        "token_chunk",
        sa.Column("corpus_id", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("first_document", sa.Integer(), nullable=False),
        sa.Column("n_documents", sa.Integer(), nullable=False),
        sa.Column("first_prediction", sa.Integer(), nullable=False),
        sa.Column("n_predictions", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["corpus_id"], ["corpus.id"], name=op.f("fk_token_chunk_corpus_id")
        ),
        sa.PrimaryKeyConstraint("corpus_id", "chunk", name=op.f("pk_token_chunk")),
    )
    op.create_table(
        "curve_chunk",
        sa.Column("curve_set_id", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["curve_set_id"], ["curve_set.id"], name=op.f("fk_curve_chunk_curve_set_id")
        ),
        sa.PrimaryKeyConstraint("curve_set_id", "chunk", "name", name=op.f("pk_curve_chunk")),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("corpus_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("n_chunks", sa.Integer(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mean_loss_nats", sa.Double(), nullable=True),
        sa.Column("share_under_tenth_nat", sa.Double(), nullable=True),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_evaluation_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpus.id"], name=op.f("fk_evaluation_corpus_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint("key", name=op.f("uq_evaluation_key")),
    )
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_evaluation_checkpoint_id"), ["checkpoint_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_evaluation_corpus_id"), ["corpus_id"], unique=False)

    op.create_table(
        "loss_chunk",
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_loss_chunk_evaluation_id")
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "chunk", name=op.f("pk_loss_chunk")),
    )
    op.create_table(
        "selection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("corpus_id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("n_under_threshold", sa.Integer(), nullable=False),
        sa.Column("n_induction", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["corpus_id"], ["corpus.id"], name=op.f("fk_selection_corpus_id")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_selection_evaluation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selection")),
        sa.UniqueConstraint("key", name=op.f("uq_selection_key")),
    )
    op.create_table(
        "similarity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("selection_id", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("measure", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("stripe_rows", sa.Integer(), nullable=False),
        sa.Column("n_stripes", sa.Integer(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoint.id"], name=op.f("fk_similarity_checkpoint_id")
        ),
        sa.ForeignKeyConstraint(
            ["selection_id"], ["selection.id"], name=op.f("fk_similarity_selection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_similarity")),
        sa.UniqueConstraint("key", name=op.f("uq_similarity_key")),
    )
    op.create_table(
        "discovery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("similarity_id", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rank_frequency", sa.JSON(), nullable=True),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["similarity_id"], ["similarity.id"], name=op.f("fk_discovery_similarity_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_discovery")),
        sa.UniqueConstraint("key", name=op.f("uq_discovery_key")),
    )
    op.create_table(
        "similarity_stripe",
        sa.Column("similarity_id", sa.Integer(), nullable=False),
        sa.Column("stripe", sa.Integer(), nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["similarity_id"], ["similarity.id"], name=op.f("fk_similarity_stripe_similarity_id")
        ),
        sa.PrimaryKeyConstraint("similarity_id", "stripe", name=op.f("pk_similarity_stripe")),
    )
    op.create_table(
        "clustering",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("discovery_id", sa.Integer(), nullable=False),
        sa.Column("n_clusters", sa.Integer(), nullable=False),
        sa.Column("inertia", sa.Double(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["discovery_id"], ["discovery.id"], name=op.f("fk_clustering_discovery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clustering")),
        sa.UniqueConstraint(
            "discovery_id", "n_clusters", name=op.f("uq_clustering_discovery_id_n_clusters")
        ),
        sa.UniqueConstraint("key", name=op.f("uq_clustering_key")),
    )
    op.create_table(
        "spectral_array",
        sa.Column("discovery_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["discovery_id"], ["discovery.id"], name=op.f("fk_spectral_array_discovery_id")
        ),
        sa.PrimaryKeyConstraint("discovery_id", "name", name=op.f("pk_spectral_array")),
    )
    op.create_table(
        "cluster",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("clustering_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("n_documents", sa.Integer(), nullable=False),
        sa.Column("coherence", sa.Double(), nullable=True),
        sa.Column("mean_cosine", sa.Double(), nullable=True),
        sa.Column("mean_loss_nats", sa.Double(), nullable=False),
        sa.Column("answer_entropy_nats", sa.Double(), nullable=False),
        sa.Column("top_answer", sa.Integer(), nullable=False),
        sa.Column("top_answer_share", sa.Double(), nullable=False),
        sa.Column("pattern_last", sa.Integer(), nullable=False),
        sa.Column("pattern_answer", sa.Integer(), nullable=False),
        sa.Column("pattern_precision", sa.Double(), nullable=False),
        sa.Column("pattern_recall", sa.Double(), nullable=False),
        sa.Column("neighbours", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["clustering_id"], ["clustering.id"], name=op.f("fk_cluster_clustering_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cluster")),
        sa.UniqueConstraint("clustering_id", "rank", name=op.f("uq_cluster_clustering_id_rank")),
    )
    op.create_table(
        "annotation",
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_annotation_cluster_id")
        ),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_annotation")),
    )
    op.create_table(
        "cluster_curve",
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("curve_set_id", sa.Integer(), nullable=False),
        sa.Column("mean_nats", sa.JSON(), nullable=False),
        sa.Column("low_nats", sa.JSON(), nullable=False),
        sa.Column("high_nats", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_cluster_curve_cluster_id")
        ),
        sa.ForeignKeyConstraint(
            ["curve_set_id"], ["curve_set.id"], name=op.f("fk_cluster_curve_curve_set_id")
        ),
        sa.PrimaryKeyConstraint("cluster_id", "curve_set_id", name=op.f("pk_cluster_curve")),
    )
    op.create_table(
        "cluster_member",
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("prediction", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_id"], ["cluster.id"], name=op.f("fk_cluster_member_cluster_id")
        ),
        sa.PrimaryKeyConstraint("cluster_id", "position", name=op.f("pk_cluster_member")),
    )
    with op.batch_alter_table("cluster_member", schema=None) as batch_op:
        batch_op.create_index(
            "ix_cluster_member_prediction", ["prediction", "cluster_id"], unique=False
        )

    if op.get_bind().dialect.name == "postgresql":
        for table in ARRAY_TABLES:
            # Floats do not compress; EXTERNAL spares the attempt and lets parts be read.
            op.execute(f"ALTER TABLE {table} ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    with op.batch_alter_table("cluster_member", schema=None) as batch_op:
        batch_op.drop_index("ix_cluster_member_prediction")

    op.drop_table("cluster_member")
    op.drop_table("cluster_curve")
    op.drop_table("annotation")
    op.drop_table("cluster")
    op.drop_table("spectral_array")
    op.drop_table("clustering")
    op.drop_table("similarity_stripe")
    op.drop_table("discovery")
    op.drop_table("similarity")
    op.drop_table("selection")
    op.drop_table("loss_chunk")
    with op.batch_alter_table("evaluation", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_evaluation_corpus_id"))
        batch_op.drop_index(batch_op.f("ix_evaluation_checkpoint_id"))

    op.drop_table("evaluation")
    op.drop_table("curve_chunk")
    op.drop_table("token_chunk")
    with op.batch_alter_table("document", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_document_first_prediction"))

    op.drop_table("document")
    with op.batch_alter_table("curve_set", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_curve_set_suite_id"))
        batch_op.drop_index(batch_op.f("ix_curve_set_corpus_id"))

    op.drop_table("curve_set")
    op.drop_table("checkpoint")
    op.drop_table("model")
    op.drop_table("corpus")
    op.drop_table("tokenizer")
    op.drop_table("suite")
