"""stored parameters have the names that the program uses: max_loss_nats, eval_every"""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_selection = sa.table("selection", sa.column("id"), sa.column("parameters", sa.JSON()))
_job = sa.table("job", sa.column("id"), sa.column("kind"), sa.column("parameters", sa.JSON()))
_experiment = sa.table(
    "experiment", sa.column("id"), sa.column("kind"), sa.column("parameters", sa.JSON())
)
RENAMES = (
    (_selection, None, "threshold_nats", "max_loss_nats"),
    (_job, "discover", "threshold_nats", "max_loss_nats"),
    (_job, "omnigrok", "look_every", "eval_every"),
    (_experiment, "omnigrok", "look_every", "eval_every"),
)


def _rename(table: sa.TableClause, kind: str | None, old: str, new: str) -> None:
    connection = op.get_bind()
    query = sa.select(table) if kind is None else sa.select(table).where(table.c.kind == kind)
    for row in connection.execute(query).all():
        if old in row.parameters:
            renamed = {new if name == old else name: v for name, v in row.parameters.items()}
            connection.execute(
                sa.update(table).where(table.c.id == row.id).values(parameters=renamed)
            )


def upgrade() -> None:
    for table, kind, old, new in RENAMES:
        _rename(table, kind, old, new)


def downgrade() -> None:
    for table, kind, old, new in RENAMES:
        _rename(table, kind, new, old)
