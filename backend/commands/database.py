"""`quanta db` and `quanta check`: schema and content of the database."""

import typer

from backend.commands.common import Json, open_default_store, print_result
from backend.settings import settings
from backend.store import database

db_cli = typer.Typer(no_args_is_help=True, help="The database.")


@db_cli.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Create the database, or migrate it to this program's schema."""
    config = settings()
    config.data_dir.mkdir(parents=True, exist_ok=True)
    engine = database.make_engine(config.url)
    done = database.upgrade_schema(engine)
    revision = database.revisions(engine)[0]
    state = "upgraded to" if done.changed else "already at"
    backup = str(done.backup) if done.backup else None
    print_result(
        as_json,
        f"{state} revision {revision}" + (f"; before that: {backup}" if backup else ""),
        revision=revision,
        changed=done.changed,
        backup=backup,
    )


def check(as_json: Json = False) -> None:
    """Verify every stored array's checksum and print the content hash of all results."""
    from backend.store.content_hash import content_hash

    digest, counts = content_hash(open_default_store())
    text = "\n".join([*(f"{name}: {n}" for name, n in counts.items()), f"content hash {digest}"])
    print_result(as_json, text, content_hash=digest, arrays=counts)
