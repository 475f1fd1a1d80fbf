"""idempotency keys outlive what they asked for; a job counts begun units that came to nothing"""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_request",
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_request_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("idempotency_key", name=op.f("pk_job_request")),
    )
    op.create_index(op.f("ix_job_request_job_id"), "job_request", ["job_id"])
    op.execute(
        "INSERT INTO job_request (idempotency_key, content, job_id, created_at) "
        "SELECT idempotency_key, key, id, created_at FROM job WHERE idempotency_key IS NOT NULL"
    )
    with op.batch_alter_table("job") as batch:
        batch.drop_constraint(op.f("uq_job_idempotency_key"), type_="unique")
        batch.drop_column("idempotency_key")
        batch.add_column(
            sa.Column("begun_in_vain", sa.Integer(), nullable=False, server_default="0")
        )
    with op.batch_alter_table("job_unit") as batch:
        batch.add_column(sa.Column("is_stored", sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("job_unit") as batch:
        batch.drop_column("is_stored")
    with op.batch_alter_table("job") as batch:
        batch.drop_column("begun_in_vain")
        batch.add_column(sa.Column("idempotency_key", sa.String(), nullable=True))
        batch.create_unique_constraint(op.f("uq_job_idempotency_key"), ["idempotency_key"])
    # A job had one key at most.
    op.execute(
        "UPDATE job SET idempotency_key = (SELECT MIN(r.idempotency_key) FROM job_request r "
        "WHERE r.job_id = job.id)"
    )
    op.drop_table("job_request")
