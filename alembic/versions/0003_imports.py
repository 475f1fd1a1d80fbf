"""imports: losses without weights or text, labels without gradients"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

# What an import does not know is NULL.
COLUMNS: dict[str, dict[str, sa.types.TypeEngine]] = {
    "corpus": {"tokenizer_id": sa.Integer()},
    "suite": {"tokenizer_key": sa.String()},
    "model": {"parameters": sa.BigInteger()},
    "checkpoint": {"location": sa.String()},
    "selection": {
        "evaluation_id": sa.Integer(),
        "n_under_threshold": sa.Integer(),
        "n_induction": sa.Integer(),
    },
    "similarity": {"checkpoint_id": sa.Integer()},
    "clustering": {"inertia": sa.Double()},
    "cluster": {
        "n_documents": sa.Integer(),
        "mean_loss_nats": sa.Double(),
        "answer_entropy_nats": sa.Double(),
        "top_answer": sa.Integer(),
        "top_answer_share": sa.Double(),
        "pattern_last": sa.Integer(),
        "pattern_answer": sa.Integer(),
        "pattern_precision": sa.Double(),
        "pattern_recall": sa.Double(),
    },
}


def _set_nullable(nullable: bool) -> None:
    for table, columns in COLUMNS.items():
        with op.batch_alter_table(table) as batch_op:
            for name, kind in columns.items():
                batch_op.alter_column(name, existing_type=kind, nullable=nullable)


def upgrade() -> None:
    _set_nullable(True)


IMPORTED_DISCOVERIES = (
    "SELECT discovery.id FROM discovery JOIN similarity ON similarity.id = similarity_id"
    " WHERE similarity.checkpoint_id IS NULL"
)
IMPORTED_CLUSTERS = (
    "SELECT cluster.id FROM cluster JOIN clustering ON clustering.id = clustering_id"
    f" WHERE discovery_id IN ({IMPORTED_DISCOVERIES})"
)
IMPORTED_MODELS = (
    "SELECT model.id FROM model JOIN suite ON suite.id = suite_id WHERE tokenizer_key IS NULL"
)
IMPORTED_EVALUATIONS = (
    "SELECT evaluation.id FROM evaluation JOIN checkpoint ON checkpoint.id = checkpoint_id"
    f" WHERE model_id IN ({IMPORTED_MODELS})"
)
IMPORTED_CURVE_SETS = (
    "SELECT curve_set.id FROM curve_set JOIN suite ON suite.id = suite_id"
    " WHERE tokenizer_key IS NULL"
)
# The older program cannot read imports: they go, referring rows first.
DELETED = (
    f"annotation WHERE cluster_id IN ({IMPORTED_CLUSTERS})",
    f"cluster_curve WHERE cluster_id IN ({IMPORTED_CLUSTERS})",
    f"cluster_curve WHERE curve_set_id IN ({IMPORTED_CURVE_SETS})",
    f"cluster_member WHERE cluster_id IN ({IMPORTED_CLUSTERS})",
    f"cluster WHERE id IN ({IMPORTED_CLUSTERS})",
    f"clustering WHERE discovery_id IN ({IMPORTED_DISCOVERIES})",
    f"discovery WHERE id IN ({IMPORTED_DISCOVERIES})",
    "similarity WHERE checkpoint_id IS NULL",
    "selection WHERE evaluation_id IS NULL",
    f"curve_chunk WHERE curve_set_id IN ({IMPORTED_CURVE_SETS})",
    f"curve_set WHERE id IN ({IMPORTED_CURVE_SETS})",
    f"loss_chunk WHERE evaluation_id IN ({IMPORTED_EVALUATIONS})",
    f"evaluation WHERE id IN ({IMPORTED_EVALUATIONS})",
    f"checkpoint WHERE model_id IN ({IMPORTED_MODELS})",
    f"model WHERE id IN ({IMPORTED_MODELS})",
    "suite WHERE tokenizer_key IS NULL",
    "corpus WHERE tokenizer_id IS NULL",
)


def downgrade() -> None:
    for rows in DELETED:
        op.execute(f"DELETE FROM {rows}")
    _set_nullable(False)
