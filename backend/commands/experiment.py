"""`quanta experiment`: toy networks, computed here and now, cell by cell."""

from typing import Annotated, Any

import typer

from backend.commands.common import Json, bars, opened_store, result
from backend.commands.job import Given, parameters_of
from backend.errors import InvalidInputError
from backend.settings import settings

experiment_cli = typer.Typer(
    no_args_is_help=True, help="Experiments on toy networks: grokking, parity and others."
)


@experiment_cli.command("presets")
def presets(as_json: Json = False) -> None:
    """Named parameters of every kind of experiment."""
    from dataclasses import asdict

    from backend.experiments.registry import KINDS

    lines, found = [], []
    for kind in KINDS.values():
        for preset in kind.presets:
            lines.append(f"{kind.name} {preset.name} ({preset.size}): {preset.title}")
            found.append({"kind": kind.name, **asdict(preset)})
    result(as_json, "\n".join(lines), presets=found)


@experiment_cli.command("run")
def run(
    kind: Annotated[str, typer.Argument(help="phase_diagram, …: see `experiment presets`.")],
    parameters: Given = None,
    preset: Annotated[
        str | None, typer.Option(help="Start from a preset's parameters: see `presets`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute an experiment; cells that are stored are not computed again."""
    from backend.experiments.queries import experiment
    from backend.experiments.registry import experiment_kind
    from backend.jobs.kinds.registry import validate_params
    from backend.stages.devices import resolve
    from backend.stages.experiments import run_experiment

    store, found = opened_store(), experiment_kind(kind)
    asked: dict[str, Any] = {}
    if preset is not None:
        named = {one.name: one for one in found.presets}
        if preset not in named:
            raise InvalidInputError(
                f"{kind} has no preset {preset!r}", f"Choose from {', '.join(named)}", "preset"
            )
        asked = dict(named[preset].parameters)
    asked |= parameters_of(parameters or [])
    with store.session() as session:
        complete = validate_params(store, session, kind, asked)
    name = run_experiment(store, kind, complete, resolve(settings()), bars(as_json))
    cells = experiment(store, name).cells
    text = f"experiment {name}: {len(cells)} cells, shown on {found.address(name)}"
    shown = [{**cell.place, **(cell.summary or {})} for cell in cells]
    result(as_json, text, experiment=name, page=found.address(name), cells=shown)


@experiment_cli.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    as_json: Json = False,
) -> None:
    """Experiments that are stored, newest first."""
    from dataclasses import asdict

    from backend.experiments.queries import list_experiments

    found = list_experiments(opened_store(), kind).experiments
    lines = [
        f"{row.id} {row.kind}: {row.label} ({row.n_finished} of {row.n_cells} cells)"
        for row in found
    ]
    text = "\n".join(lines) or "no experiments"
    result(as_json, text, experiments=[asdict(row) for row in found])


@experiment_cli.command("phases")
def phases(
    experiment: Annotated[str, typer.Argument(help="Id of a phase diagram.")],
    gap: Annotated[int, typer.Option(min=1, help="Steps from which a delay is grokking.")] = 1000,
    as_json: Json = False,
) -> None:
    """The phases of a grid, drawn as letters, and how many cells each has."""
    from dataclasses import asdict

    from backend.experiments.grokking.queries import phase_diagram

    view = phase_diagram(opened_store(), experiment, gap)
    width = len(view.x.values)
    rows = [
        "".join(cell.phase or "." for cell in view.cells[first : first + width])
        for first in range(0, len(view.cells), width)
    ]
    counts = ", ".join(f"{name} {count}" for name, count in view.counts.items())
    text = "\n".join([f"{view.y.title} upwards, {view.x.title} to the right", *rows[::-1], counts])
    result(as_json, text, **asdict(view))


@experiment_cli.command("laws")
def laws(
    run: Annotated[str, typer.Argument(help="Id of a run of sparse parity.")],
    as_json: Json = False,
) -> None:
    """Slopes over width, steps and data of a run of sparse parity, beside their finite sums."""
    from dataclasses import asdict

    from backend.experiments.sparse_parity.queries import parity

    view = parity(opened_store(), run)
    tasks = view.experiment.parameters["tasks"]
    lines = []
    for law in view.laws:
        head = f"{law.axis} at alpha {law.alpha:g}: "
        if law.why_not is not None:
            lines.append(f"{head}no slope, {law.why_not}")
            continue
        agrees = "within" if law.agrees else "not within"
        lines.append(
            f"{head}slope {law.measured:.3f}, sum over {tasks} subtasks {law.predicted:.3f} "
            f"({agrees} 40 %), infinitely many {law.limit:.3f}"
        )
    result(as_json, "\n".join(lines) or "no laws", laws=[asdict(law) for law in view.laws])
