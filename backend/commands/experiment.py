"""`quanta experiment`: run experiments on toy networks in this process, and print their results."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.commands.common import Json, bars, open_default_store, print_result
from backend.commands.job import Params, parse_params
from backend.errors import InvalidInputError
from backend.settings import settings

experiment_cli = typer.Typer(
    no_args_is_help=True, help="Experiments on toy networks: grokking, sparse parity and others."
)


@experiment_cli.command("presets")
def presets(as_json: Json = False) -> None:
    """List the named parameters of every kind of experiment."""
    from backend.experiments.registry import KINDS

    all_presets = [(kind.name, preset) for kind in KINDS.values() for preset in kind.presets]
    lines = [
        f"{kind} {preset.name} ({preset.size}): {preset.title}" for kind, preset in all_presets
    ]
    rows = [{"kind": kind, **asdict(preset)} for kind, preset in all_presets]
    print_result(as_json, "\n".join(lines), presets=rows)


@experiment_cli.command("run")
def run(
    kind: Annotated[
        str, typer.Argument(help="Kind of experiment; `experiment presets` lists them.")
    ],
    parameters: Params = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset to start from; `experiment presets` lists them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute an experiment; stored cells are not computed again."""
    from backend.experiments.queries import load_experiment
    from backend.experiments.registry import experiment_kind
    from backend.jobs.kinds.registry import validate_params
    from backend.stages.devices import resolve
    from backend.stages.experiments import run_experiment

    store, experiment = open_default_store(), experiment_kind(kind)
    request: dict[str, Any] = {}
    if preset is not None:
        presets_by_name = {row.name: row for row in experiment.presets}
        if preset not in presets_by_name:
            raise InvalidInputError(
                f"{kind} has no preset {preset!r}",
                f"Choose from {', '.join(presets_by_name)}",
                "preset",
            )
        request = dict(presets_by_name[preset].parameters)
    request |= parse_params(parameters or [])
    with store.session() as session:
        complete = validate_params(store, session, kind, request)
    name = run_experiment(store, kind, complete, resolve(settings()), bars(as_json))
    cells, page = load_experiment(store, name).cells, experiment.page_address(name)
    text = f"experiment {name}: {len(cells)} cells, shown on {page}"
    rows = [{**cell.place, **(cell.summary or {})} for cell in cells]
    print_result(as_json, text, experiment=name, page=page, cells=rows)


@experiment_cli.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only this kind (default: all kinds).")] = None,
    as_json: Json = False,
) -> None:
    """List the stored experiments, newest first."""
    from backend.experiments.queries import list_experiments

    rows = list_experiments(open_default_store(), kind).experiments
    lines = [
        f"{row.id} {row.kind}: {row.label} ({row.n_finished} of {row.n_cells} cells)"
        for row in rows
    ]
    text = "\n".join(lines) or "no experiments"
    print_result(as_json, text, experiments=[asdict(row) for row in rows])


@experiment_cli.command("phases")
def phases(
    experiment: Annotated[str, typer.Argument(help="Id of a phase diagram.")],
    gap: Annotated[
        int,
        typer.Option(
            min=1,
            help="Minimum delay between train and test accuracy to count as grokking, in steps.",
        ),
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Print the phases of a grid as letters, and the number of cells in each phase."""
    from backend.experiments.grokking.queries import load_phase_diagram

    view = load_phase_diagram(open_default_store(), experiment, gap)
    width = len(view.x.values)
    rows = [
        "".join(cell.phase or "." for cell in view.cells[first : first + width])
        for first in range(0, len(view.cells), width)
    ]
    counts = ", ".join(f"{name} {count}" for name, count in view.counts.items())
    text = "\n".join([f"{view.y.title} upwards, {view.x.title} to the right", *rows[::-1], counts])
    print_result(as_json, text, **asdict(view))


@experiment_cli.command("laws")
def laws(
    run: Annotated[str, typer.Argument(help="Id of a run of sparse parity.")], as_json: Json = False
) -> None:
    """Print the slopes of a run of sparse parity over width, steps and data."""
    from backend.experiments.sparse_parity.queries import load_parity_run

    view = load_parity_run(open_default_store(), run)
    n_tasks = view.experiment.parameters["tasks"]
    lines = []
    for law in view.laws:
        prefix = f"{law.axis} at alpha {law.alpha:g}: "
        if law.why_not is not None:
            lines.append(f"{prefix}no slope, {law.why_not}")
            continue
        agrees = "within" if law.agrees else "not within"
        lines.append(
            f"{prefix}slope {law.measured:.3f}, sum over {n_tasks} subtasks {law.predicted:.3f} "
            f"({agrees} 40 %), infinitely many {law.limit:.3f}"
        )
    print_result(as_json, "\n".join(lines) or "no laws", laws=[asdict(law) for law in view.laws])
