"""`quanta suite train` and `pack`: training of a new suite."""

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.common import Json, Workers, bars, open_default_store, print_result
from backend.commands.suite import suite_cli
from backend.errors import InvalidInputError
from backend.settings import settings


@suite_cli.command("train")
def suite_train(
    recipe: Annotated[Path, typer.Argument(help="recipe.toml: sources, sizes, schedule.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the suite (default: in the data directory).")
    ] = None,
    register: Annotated[bool, typer.Option(help="Register the suite when it is trained.")] = True,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Train a suite: fetch its text, make its tokenizer, train every size. Resumes."""
    from backend.stages import devices
    from backend.stages.suites import add_suite
    from backend.training.recipe import read_recipe
    from backend.training.run import train_suite

    store, config = open_default_store(), settings()
    compute = devices.resolve(config, workers)
    name = read_recipe(recipe).name
    progress = bars(as_json)
    folder = train_suite(
        recipe,
        out or config.data_dir / "suites" / name,
        device=compute.device,
        processes=compute.workers if compute.device == "cpu" else 1,
        downloads=config.data_dir / "downloads",
        progress=progress,
    )
    if register:
        add_suite(store, folder, name, read_recipe(recipe).description, progress)
    print_result(as_json, f"suite {name} is in {folder}", suite=name, folder=str(folder))


@suite_cli.command("pack")
def suite_pack(
    folder: Annotated[Path, typer.Argument(help="Folder that suite train made.")],
    out: Annotated[Path, typer.Argument(help="New folder of the packed suite.")],
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Steps to keep beside the last: MODEL=all or MODEL=0,64,…; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Copy the parts of a trained suite to share: weights, held-out text, licences."""
    from backend.training.packing import pack

    steps_by_model = {}
    for item in keep or []:
        model, equals, steps = item.partition("=")
        if not (model and equals and steps):
            raise InvalidInputError(f"--keep {item!r}", "Write it as s1=all or s1=0,64,500")
        steps_by_model[model] = steps
    facts = pack(folder, out, steps_by_model, settings().data_dir / "downloads", bars(as_json))
    steps_kept = {model["name"]: model["steps"] for model in facts["models"]}
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print_result(
        as_json,
        f"{size / 1e6:.1f} MB in {out}",
        folder=str(out),
        bytes=size,
        models=steps_kept,
        held_out=facts["held_out"],
    )
