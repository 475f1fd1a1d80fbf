"""jobs that are cancelled and resumed, their units, and leases of workers"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = ("attempt", "done_before", "requires", "work", "activity", "part", "parts", "started_at")


def upgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
        job.add_column(sa.Column("done_before", sa.Integer(), nullable=False, server_default="0"))
        job.add_column(sa.Column("requires", sa.String(), nullable=False, server_default="any"))
        job.add_column(sa.Column("work", sa.Double(), nullable=True))
        job.add_column(sa.Column("activity", sa.String(), nullable=True))
        job.add_column(sa.Column("part", sa.Integer(), nullable=True))
        job.add_column(sa.Column("parts", sa.Integer(), nullable=True))
        job.add_column(sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    # The engine keeps what it knows of open jobs in another form from now on.
    op.execute(
        "UPDATE job SET state = 'failed', claim = NULL, idempotency_key = NULL,"
        " problem = 'the program was upgraded while this job was open',"
        " remedy = 'Resume it: what was computed is kept'"
        " WHERE state IN ('queued', 'running')"
    )
    op.create_table(
        "job_unit",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_unit_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "unit", name=op.f("pk_job_unit")),
    )
    op.create_table(
        "job_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_job_message_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_message")),
    )
    op.create_index(op.f("ix_job_message_job_id"), "job_message", ["job_id"])
    op.create_table(
        "claim",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claim")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_index(op.f("ix_worker_state"), "worker", ["state"])


def downgrade() -> None:
    op.drop_table("claim")
    op.drop_table("worker")
    op.drop_table("job_message")
    op.drop_table("job_unit")
    with op.batch_alter_table("job") as job:
        for column in COLUMNS:
            job.drop_column(column)
