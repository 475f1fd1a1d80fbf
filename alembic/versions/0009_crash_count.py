"""a job's crash count has the name that the program uses"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not alter_column: on SQLite it would copy the table, and the copy's deletion would cascade.
    op.execute("ALTER TABLE job RENAME COLUMN begun_in_vain TO crash_count")


def downgrade() -> None:
    op.execute("ALTER TABLE job RENAME COLUMN crash_count TO begun_in_vain")
