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
    name: Annotated[
        str, typer.Option(help="Name of the suite, and of the corpus if --corpus is not given.")
    ],
    corpus: Annotated[
        str | None, typer.Option(help="Stored corpus that the rows are predictions of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import losses of models that are not here; `quanta classify` can use them."""
    from backend.exchange.losses import LossesSpec, import_losses

    spec = LossesSpec(file, models, unit, name, corpus)
    imported = import_losses(open_default_store(), spec, bars(as_json))
    state = "imported" if imported.created else "stored already"
    print_result(
        as_json,
        f"{state}: {len(imported.evaluations)} columns of {imported.n_predictions:,} losses "
        f"as suite {imported.suite} on corpus {imported.corpus}\n"
        f"next: quanta classify {imported.suite} {imported.corpus}",
        suite=imported.suite,
        corpus=imported.corpus,
        predictions=imported.n_predictions,
        evaluations=list(imported.evaluations),
        created=imported.created,
    )


@import_cli.command("labels")
def labels(
    file: Annotated[Path, typer.Argument(help='JSON: {"400": [[label of each sample], …], …}.')],
    name: Annotated[str, typer.Option(help="Name of the clusterings and of their corpus.")],
    contexts: Annotated[
        Path | None,
        typer.Option(help='JSON: {"7": {"context": […], "answer": …}, …}, in sample order.'),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import published cluster labels; without contexts, members are known by index only."""
    from backend.exchange.label_store import LabelsSpec, import_labels

    imported = import_labels(open_default_store(), LabelsSpec(file, name, contexts), bars(as_json))
    state = "imported" if imported.created else "stored already"
    fit = imported.fit
    window = [fit["first_rank"], fit["last_rank"]] if fit else None
    slope = f"{fit['slope']:.3f} over ranks {window}" if fit else "none: too few ranks"
    print_result(
        as_json,
        f"{state}: {len(imported.clusterings)} clusterings of {imported.n_samples:,} samples as "
        f"{imported.corpus}; envelope slope {slope}",
        discovery=imported.discovery,
        corpus=imported.corpus,
        samples=imported.n_samples,
        clusterings={
            n: {"id": number, "sizes": sizes} for n, (number, sizes) in imported.clusterings.items()
        },
        envelope_slope=fit["slope"] if fit else None,
        slope_window=window,
        created=imported.created,
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

    grids = read_step_grids(train, test, budget, gap)
    counts = grids.labels.counts()
    rows = "\n".join(" ".join(row) for row in grids.labels.phases.tolist())
    names = ", ".join(f"{counts[letter]} {name} ({letter})" for letter, name in PHASE_NAMES.items())
    print_result(
        as_json,
        f"{rows}\n{names}; {counts['test_only']} of the last reached only the test accuracy",
        counts=counts,
        phases=grids.labels.phases.tolist(),
        budget=budget,
        gap=gap,
    )
