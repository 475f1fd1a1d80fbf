"""`quanta suite`: suites of models, of the catalogue or from local folders."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from backend.commands.common import Json, bars, open_default_store, parse_numbers, print_result
from backend.errors import InvalidInputError
from backend.store.tables import Suite
from backend.weights import catalogue

suite_cli = typer.Typer(no_args_is_help=True, help="Suites of models.")
CATALOGUE_PREFIX = "hub:"


def _parse_source(text: str) -> Path | tuple[catalogue.Family, ...]:
    """Return the folder or the suites of the catalogue that an argument names."""
    families = catalogue.find_families(text.removeprefix(CATALOGUE_PREFIX))
    folder = Path(text)
    if families and text.startswith(CATALOGUE_PREFIX):
        return families
    if families and folder.exists():
        raise InvalidInputError(
            f"{text} is a suite of the catalogue, and there is a folder of that name here",
            f"Write ./{text} for the folder, {CATALOGUE_PREFIX}{text} for the suite",
            "source",
        )
    if families or folder.is_dir():
        return families or folder
    raise InvalidInputError(
        f"{text!r} is neither a folder nor a suite of the catalogue",
        f"Give a folder with MODEL/stepS/, or one of {catalogue.describe_names()}",
        "source",
    )


@suite_cli.command("add")
def suite_add(
    source: Annotated[str, typer.Argument(help="A folder of models, or a name such as pythia.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the suite (default: that of the source).")
    ] = None,
    description: Annotated[str, typer.Option(help="One sentence about the suite.")] = "",
    model: Annotated[
        list[str] | None, typer.Option(help="Catalogue: only these models, such as 70m.")
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Catalogue: only these steps, as 0,1,1000-143000:1000.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Catalogue: address of the hub (default: HF_ENDPOINT).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a suite of the catalogue by name, or a folder of checkpoints.

    Only configurations and the list of steps are fetched for a suite of the catalogue; weights are
    fetched when a checkpoint is evaluated.
    """
    parsed = _parse_source(source)
    if not isinstance(parsed, Path):
        _add_families(parsed, name, description, model, step, endpoint, as_json)
        return
    for option, value in {"--model": model, "--step": step, "--endpoint": endpoint}.items():
        if value:
            raise InvalidInputError(
                f"{option} is for suites of the catalogue, {source} is a folder", "Leave it out"
            )
    from backend.stages.suites import add_suite

    suite = add_suite(
        open_default_store(), parsed, name or parsed.resolve().name, description, bars(as_json)
    )
    print_result(as_json, f"suite {suite.name} is registered", suite=suite.name)


def _required(step: str | None) -> frozenset[int]:
    """Return the steps that are not given as ranges: the hub must have them."""
    parts = step.split(",") if step else []
    return frozenset(int(part) for part in parts if part.strip().isdigit())


def _add_families(
    families: tuple[catalogue.Family, ...],
    name: str | None,
    description: str,
    model: list[str] | None,
    step: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    from backend.stages.hub_suites import HubSpec, add_hub_suite
    from backend.weights.hub_locations import validate_endpoint

    if name and len(families) > 1:
        raise InvalidInputError(
            f"--name {name} would name {len(families)} suites", "Leave it out", "name"
        )
    steps = frozenset(parse_numbers(step, "--step")) if step else None
    store, progress = open_default_store(), bars(as_json)
    suites: list[dict[str, Any]] = []
    for family in families:
        spec = HubSpec(
            family=family,
            name=name or family.name,
            description=description,
            models=tuple(model) if model else None,
            steps=steps,
            required_steps=_required(step),
            endpoint=validate_endpoint(endpoint),
        )
        added = add_hub_suite(store, spec, progress)
        suites.append(
            {"suite": added.suite.name, "models": added.models, "notes": list(added.notes)}
        )
    print_result(as_json, "\n".join(_lines(suites)), suite=suites[0]["suite"], suites=suites)


def _lines(suites: list[dict[str, Any]]) -> list[str]:
    lines = []
    for suite in suites:
        count = sum(len(steps) for steps in suite["models"].values())
        lines.append(
            f"suite {suite['suite']} is registered: {len(suite['models'])} models, "
            f"{count} checkpoints; weights are fetched when they are evaluated"
        )
        lines += [f"note: {note}" for note in suite["notes"]]
    return lines


@suite_cli.command("list")
def suite_list(as_json: Json = False) -> None:
    """List suites with their models and steps."""
    with open_default_store().session() as session:
        suites = [
            {"suite": s.name, "models": {m.name: [c.step for c in m.checkpoints] for m in s.models}}
            for s in session.scalars(select(Suite).order_by(Suite.name))
        ]
    lines = [f"{s['suite']}: {s['models']}" for s in suites] or ["no suite yet: `quanta suite add`"]
    print_result(as_json, "\n".join(lines), suites=suites)
