"""the maximum loss of a selection has the name that the program uses"""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OLD, NEW = "threshold_nats", "max_loss_nats"
_selection = sa.table("selection", sa.column("id"), sa.column("parameters", sa.JSON()))
_job = sa.table("job", sa.column("id"), sa.column("kind"), sa.column("parameters", sa.JSON()))


def _rename(old: str, new: str) -> None:
    connection = op.get_bind()
    for table, rows in (
        (_selection, sa.select(_selection)),
        (_job, sa.select(_job).where(_job.c.kind == "discover")),
    ):
        for row in connection.execute(rows).all():
            if old in row.parameters:
                renamed = {new if name == old else name: v for name, v in row.parameters.items()}
                connection.execute(
                    sa.update(table).where(table.c.id == row.id).values(parameters=renamed)
                )


def upgrade() -> None:
    _rename(OLD, NEW)


def downgrade() -> None:
    _rename(NEW, OLD)
