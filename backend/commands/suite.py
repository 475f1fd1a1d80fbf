"""`quanta suite`: suites of models."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from backend.commands.common import Json, bars, opened_store, result
from backend.models import Suite

suite_cli = typer.Typer(no_args_is_help=True, help="Suites of models.")


@suite_cli.command("add")
def suite_add(
    folder: Annotated[Path, typer.Argument(help="Holds MODEL/stepS/ and tokenizer.json.")],
    name: Annotated[str | None, typer.Option(help="Its name; the folder's if left out.")] = None,
    description: Annotated[str, typer.Option(help="One sentence for people.")] = "",
    as_json: Json = False,
) -> None:
    """Register a folder of checkpoints as a suite."""
    from backend.stages.suites import add_suite

    suite = add_suite(
        opened_store(), folder, name or folder.resolve().name, description, bars(as_json)
    )
    result(as_json, f"suite {suite.name} is registered", suite=suite.name)


@suite_cli.command("list")
def suite_list(as_json: Json = False) -> None:
    """List suites with their models and steps."""
    with opened_store().session() as session:
        suites = [
            {"suite": s.name, "models": {m.name: [c.step for c in m.checkpoints] for m in s.models}}
            for s in session.scalars(select(Suite).order_by(Suite.name))
        ]
    lines = [f"{s['suite']}: {s['models']}" for s in suites] or ["no suite yet: `quanta suite add`"]
    result(as_json, "\n".join(lines), suites=suites)
