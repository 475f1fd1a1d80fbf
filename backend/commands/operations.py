"""`quanta backup`, `restore`: keeping the store."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, result
from backend.settings import settings

File = Annotated[Path, typer.Argument(help="The backup, one file.")]


def backup(
    file: File,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write the store and its jobs into one file, while servers and workers go on."""
    from backend.backups import make_backup

    made = make_backup(settings(), file, bars(as_json), force=force)
    result(
        as_json,
        f"{made.file}: {made.n_bytes:,} bytes, {made.manifest.database} store at revision "
        f"{made.manifest.revision}",
        file=str(made.file),
        bytes=made.n_bytes,
        manifest=asdict(made.manifest),
    )


def restore(file: File, as_json: Json = False) -> None:
    """Replace the store by a backup; the present one is kept beside it."""
    from backend.restores import restore as run

    done = run(settings(), file, bars(as_json))
    kept = ", ".join(done.aside) or "there was none"
    result(
        as_json,
        f"restored the store of {done.manifest.created_at}"
        + (f", migrated from revision {done.manifest.revision}" if done.migrated else "")
        + f"; the one before: {kept}",
        manifest=asdict(done.manifest),
        migrated=done.migrated,
        aside=list(done.aside),
    )
