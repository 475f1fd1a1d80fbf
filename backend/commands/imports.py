"""`quanta import`: losses, cluster labels and steps that were computed elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, bars, open_default_store, print_result

import_cli = typer.Typer(
    no_args_is_help=True, help="Losses, cluster labels and steps that were computed elsewhere."
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
    found = import_losses(open_default_store(), spec, bars(as_json))
    state = "imported" if found.created else "stored already"
    print_result(
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

    found = import_labels(open_default_store(), LabelsSpec(file, name, contexts), bars(as_json))
    state = "imported" if found.created else "stored already"
    window = [found.fit["first_rank"], found.fit["last_rank"]] if found.fit else None
    slope = f"{found.fit['slope']:.3f} over ranks {window}" if found.fit else "none: too few ranks"
    print_result(
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


@import_cli.command("steps")
def steps(
    train: Annotated[Path, typer.Argument(help="Steps to the train accuracy; a line a row.")],
    test: Annotated[Path, typer.Argument(help="Steps to the test accuracy, of the same cells.")],
    budget: Annotated[int, typer.Option(min=2, help="Steps S of a cell; S - 1 means never.")],
    gap: Annotated[int, typer.Option(min=1, help="Steps of delay from which it is grokking.")] = (
        1_000
    ),
    as_json: Json = False,
) -> None:
    """Label the phases of a grid: comprehension, grokking, memorisation, confusion."""
    from backend.exchange.step_grids import read_step_grids
    from compute.grokking.phases import PHASE_NAMES

    found = read_step_grids(train, test, budget, gap)
    counts = found.labels.counts()
    rows = "\n".join(" ".join(row) for row in found.labels.phases.tolist())
    names = ", ".join(f"{counts[letter]} {name} ({letter})" for letter, name in PHASE_NAMES.items())
    print_result(
        as_json,
        f"{rows}\n{names}; of the last, {counts['test_only']} reached the test accuracy alone",
        counts=counts,
        phases=found.labels.phases.tolist(),
        budget=budget,
        gap=gap,
    )
