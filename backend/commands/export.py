"""`quanta export`: losses, curves, predictions and clusters as Parquet, Arrow, CSV or JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, print_result

if TYPE_CHECKING:
    from backend.exchange.table_files import Table
    from backend.store.database import Store

export_cli = typer.Typer(
    no_args_is_help=True,
    help="Losses, curves, predictions and clusters as Parquet, Arrow, CSV or JSON.",
)

Out = Annotated[Path, typer.Option("--out", help="File to write.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="parquet, arrow, csv or json (default: the ending of --out)."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
First = Annotated[int, typer.Option(help="Index of the first prediction.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Maximum predictions (default: all).")]
Axis = Annotated[str, typer.Option(help="N, model sizes, or S, steps of one model.")]
Model = Annotated[str | None, typer.Option(help="Model of axis S (default: the largest).")]
Context = Annotated[int, typer.Option(help="Tokens before each answer.")]


def write_export(
    table_of: "Callable[[Store], Table]", out: Path, format: str | None, force: bool, as_json: bool
) -> None:
    """Write the table of an export command, and print a summary."""
    from backend.exchange.table_files import resolve_format, write_table

    chosen = resolve_format(out, format)
    table = table_of(open_default_store())
    with bars(as_json).task(f"export {out.name}", total=table.n_rows, unit="rows") as bar:
        size = write_table(table, out, chosen, overwrite=force, on_rows=bar.advance)
    print_result(
        as_json,
        f"{out}: {table.n_rows:,} rows, {len(table.columns)} columns, {size:,} bytes",
        file=str(out),
        format=chosen,
        rows=table.n_rows,
        columns=[column.name for column in table.columns],
        bytes=size,
        metadata=dict(table.metadata),
    )


@export_cli.command("losses")
def export_losses(
    suite: str,
    corpus: str,
    out: Out,
    format: Format = None,
    first: First = 0,
    limit: Limit = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Losses of predictions under every evaluated checkpoint, a column each."""
    from backend.exchange.exports import Range, losses_table

    rows = Range(first, limit)
    write_export(lambda s: losses_table(s, suite, corpus, rows), out, format, force, as_json)


@export_cli.command("curves")
def export_curves(
    suite: str,
    corpus: str,
    out: Out,
    axis: Axis = "N",
    model: Model = None,
    format: Format = None,
    first: First = 0,
    limit: Limit = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Every prediction's curve with its class and scores."""
    from backend.exchange.exports import Range, curves_table, named_curve_set

    rows = Range(first, limit)
    write_export(
        lambda s: curves_table(s, named_curve_set(s, suite, corpus, axis, model), rows),
        *(out, format, force, as_json),
    )


@export_cli.command("clusters")
def export_clusters(
    clustering: int,
    out: Out,
    context: Context = 64,
    format: Format = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Every cluster of a clustering, a row for each member with its context."""
    from backend.exchange.exports import clusters_table

    write_export(
        lambda s: clusters_table(s, clustering, context=context), out, format, force, as_json
    )
