"""The work of train_suite jobs: text, one size after the other, the suite."""

from pathlib import Path

from backend.errors import InvalidInputError
from backend.jobs.work.base import Made, Parameters, Plan, Task, Work
from backend.stages.suites import add_suite
from backend.store import data_files as files
from backend.store.database import Store
from backend.training import run
from backend.training.recipe import Recipe, read_recipe


def _plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
    # One worker does it all: the weights of a suite in training lie in one machine's folder.
    units = [["text"], *(["train", name] for name in parameters["models"]), ["register"]]
    return Plan([[["sequence", units]]])


def _recipe(task: Task) -> tuple[Path, Recipe]:
    """Return the recipe's file, and the recipe with its folders as they are on this machine."""
    wanted = task.parameters
    path = files.unchanged(task.store, wanted["recipe"], "recipe")
    recipe = read_recipe(path)
    found = []
    for source in recipe.source:
        if source.kind == "folder":
            folder = files.folder_of(task.store, source.package, "recipe")
            if files.folder_digest(folder) != wanted["folders"][source.name]:
                raise InvalidInputError(
                    f"the text of source {source.name} has changed since the job was asked for",
                    "Ask again: it is part of the job",
                    "recipe",
                )
            found.append(source.model_copy(update={"package": str(folder)}))
        else:
            found.append(source)
    return path, recipe.model_copy(update={"source": tuple(found)})


def _perform(task: Task) -> Made | None:
    path, recipe = _recipe(task)
    config = task.store.settings
    out = config.data_dir.resolve() / "suites" / recipe.name
    report = run.prepare(recipe, out, config.data_dir / "downloads", task.progress)
    copy = out / "recipe.toml"
    if task.unit[0] == "text":
        copy.write_bytes(path.read_bytes())
    elif task.unit[0] == "train":
        _train(task, recipe, out, copy)
    else:
        run.write_suite(recipe, report, out)
        add_suite(task.store, out, recipe.name, recipe.description, task.progress)
    return None


def _train(task: Task, recipe: Recipe, out: Path, copy: Path) -> None:
    size = next(model for model in recipe.model if model.name == task.unit[1])
    folder = out / "models" / size.name
    run.claim_folder(recipe, size, folder)
    if run.is_finished(recipe, out, size):
        return
    steps, done = recipe.training.steps, run.count_trained_steps(folder)
    with task.progress.task(f"train {size.name}", steps, unit="steps", done=done) as bar:
        run.train_size(str(copy), size.name, str(out), task.compute.device, lambda _: bar.advance())


def _made(parameters: Parameters) -> Made:
    return {"suite": parameters["suite"], "page": "/"}


TRAIN_SUITE = Work(_plan, _perform, _made)
