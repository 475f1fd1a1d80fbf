"""experiments on toy networks: cells and their arrays"""

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _of_experiment(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_experiment_id_experiment")
    return sa.ForeignKeyConstraint(
        ["experiment_id"], ["experiment.id"], name=name, ondelete="CASCADE"
    )


def upgrade() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("n_cells", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
        sa.UniqueConstraint("key", name=op.f("uq_experiment_key")),
    )
    op.create_index(op.f("ix_experiment_kind"), "experiment", ["kind"])
    op.create_table(
        "experiment_cell",
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _of_experiment("experiment_cell"),
        sa.PrimaryKeyConstraint("experiment_id", "cell", name=op.f("pk_experiment_cell")),
    )
    op.create_table(
        "experiment_array",
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("checksum", sa.String(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        _of_experiment("experiment_array"),
        sa.PrimaryKeyConstraint("experiment_id", "cell", "name", name=op.f("pk_experiment_array")),
    )
    op.create_index(op.f("ix_job_key"), "job", ["key"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE experiment_array ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_index(op.f("ix_job_key"), "job")
    op.drop_table("experiment_array")
    op.drop_table("experiment_cell")
    op.drop_table("experiment")
