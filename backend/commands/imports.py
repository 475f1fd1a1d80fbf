"""`quanta import`: losses and cluster labels that were computed elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, opened_store, result

import_cli = typer.Typer(
    no_args_is_help=True, help="Losses and cluster labels that were computed elsewhere."
)


@import_cli.command("losses")
def losses(
    file: Annotated[Path, typer.Argument(help=".npy, predictions x models, float16 to float64.")],
    models: Annotated[
        Path, typer.Option(help="JSON: name, nonembedding_parameters and step of each column.")
    ],
    unit: Annotated[str, typer.Option(help="nats or bits.")],
    name: Annotated[str, typer.Option(help="Of the suite; without --corpus, of the corpus too.")],
    corpus: Annotated[
        str | None, typer.Option(help="The stored corpus whose predictions the rows are.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import losses of models that are not here; `quanta classify` then works on them."""
    from backend.exchange.losses import LossesSpec, import_losses

    spec = LossesSpec(file, models, unit, name, corpus)
    found = import_losses(opened_store(), spec, bars(as_json))
    state = "imported" if found.created else "stored already"
    result(
        as_json,
        f"{state}: {len(found.evaluations)} columns of {found.n_predictions:,} losses as suite "
        f"{found.suite} on corpus {found.corpus}\n"
        f"next: quanta classify {found.suite} {found.corpus}",
        suite=found.suite,
        corpus=found.corpus,
        predictions=found.n_predictions,
        evaluations=list(found.evaluations),
        created=found.created,
    )


@import_cli.command("labels")
def labels(
    file: Annotated[Path, typer.Argument(help='JSON: {"400": [[label of each sample], …], …}.')],
    name: Annotated[str, typer.Option(help="Of the clusterings, and of their corpus.")],
    contexts: Annotated[
        Path | None,
        typer.Option(help='JSON: {"7": {"context": […], "answer": …}, …}, in sample order.'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import published cluster labels; without contexts, members are known by index only."""
    from backend.exchange.label_store import LabelsSpec, import_labels

    found = import_labels(opened_store(), LabelsSpec(file, name, contexts), bars(as_json))
    state = "imported" if found.created else "stored already"
    window = [found.fit["first_rank"], found.fit["last_rank"]] if found.fit else None
    slope = f"{found.fit['slope']:.3f} over ranks {window}" if found.fit else "none: too few ranks"
    result(
        as_json,
        f"{state}: {len(found.clusterings)} clusterings of {found.n_samples:,} samples as "
        f"{found.corpus}; envelope slope {slope}",
        discovery=found.discovery,
        corpus=found.corpus,
        samples=found.n_samples,
        clusterings={
            n: {"id": number, "sizes": sizes} for n, (number, sizes) in found.clusterings.items()
        },
        envelope_slope=found.fit["slope"] if found.fit else None,
        slope_window=window,
        created=found.created,
    )
