"""train_suite: train a suite of models from a recipe."""

from pathlib import Path

from pydantic import Field
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError, NotReadyError
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.plans import Plan
from backend.schemas.parameters import File, Parameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.training.recipe import Recipe, read_recipe

# 2N forward, 4N backward a token (arXiv:2001.08361, section 2.1).
_TRAINING_FLOP = 6.0
# Attention and MLP of one layer of GPT-NeoX: 12 h^2 parameters.
_LAYER_PARAMETERS = 12


class TrainSuiteParameters(Parameters):
    """A suite that is trained here, from a recipe below `imports`."""

    recipe: File = Field(
        title="Recipe",
        description="recipe.toml below imports: sources, sizes, schedule",
        examples=["recipe.toml"],
    )


def _validate(store: Store, session: Session, request: TrainSuiteParameters) -> JobParams:
    file = files.describe_file(store, request.recipe, "recipe")
    recipe = read_recipe(files.file_path(store, request.recipe, "recipe"))
    remote = next((s for s in recipe.source if s.kind != "folder"), None)
    if remote is not None and not store.settings.jobs_fetch:
        raise NotReadyError(
            f"source {remote.name} of the recipe is fetched from {remote.kind}, and jobs may not "
            "fetch",
            "Start the server and its workers with QUANTA_JOBS_FETCH=true",
        )
    folders = {s.name: s.package for s in recipe.source if s.kind == "folder"}
    return {
        "recipe": file,
        "folders": {
            name: files.folder_digest(files.folder_path(store, folder, "recipe"))
            for name, folder in folders.items()
        },
        "suite": recipe.name,
        "models": [m.name for m in recipe.model],
        "steps": recipe.training.steps,
    }


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    recipe = read_recipe(files.file_path(store, params["recipe"]["file"], "recipe"))
    tokens = recipe.training.steps * recipe.training.batch_windows * recipe.data.context
    parameters = sum(_LAYER_PARAMETERS * m.layers * m.hidden_size**2 for m in recipe.model)
    return Cost(len(recipe.model) + 2, _TRAINING_FLOP * parameters * tokens, "FLOP")


def _plan(store: Store, params: JobParams, n_workers: int) -> Plan:
    # One worker runs all units: weights in training are in a folder of its machine.
    units = [["text"], *(["train", name] for name in params["models"]), ["register"]]
    return Plan([[["sequence", units]]])


def _read_recipe(task: Task) -> tuple[Path, Recipe]:
    """Return the recipe's file, and the recipe with the paths of its folders on this machine."""
    path = files.verify_file(task.store, task.params["recipe"], "recipe")
    recipe = read_recipe(path)
    sources = []
    for source in recipe.source:
        if source.kind == "folder":
            folder = files.folder_path(task.store, source.package, "recipe")
            if files.folder_digest(folder) != task.params["folders"][source.name]:
                raise InvalidInputError(
                    f"the text of source {source.name} has changed since the job was submitted",
                    "Submit the job again: the text is part of it",
                    "recipe",
                )
            sources.append(source.model_copy(update={"package": str(folder)}))
        else:
            sources.append(source)
    return path, recipe.model_copy(update={"source": tuple(sources)})


def _perform(task: Task) -> None:
    from backend.stages.suites import add_suite
    from backend.training import run

    path, recipe = _read_recipe(task)
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


def _train(task: Task, recipe: Recipe, out: Path, copy: Path) -> None:
    from backend.training import run

    size = next(model for model in recipe.model if model.name == task.unit[1])
    folder = out / "models" / size.name
    run.claim_folder(recipe, size, folder)
    if run.is_finished(recipe, out, size):
        return
    steps, done = recipe.training.steps, run.count_trained_steps(folder)
    with task.progress.task(f"train {size.name}", steps, unit="steps", done=done) as bar:
        run.train_size(str(copy), size.name, str(out), task.compute.device, lambda _: bar.advance())


def _result(params: JobParams) -> JobResult:
    return {"suite": params["suite"], "page": "/"}


TRAIN_SUITE = JobKind(
    name="train_suite",
    title="Training of a suite",
    summary="Models of several sizes, trained from a recipe and registered as a suite.",
    unit="stages",
    schema=TrainSuiteParameters,
    validate=_validate,
    cost=_cost,
    plan=_plan,
    perform=_perform,
    result=_result,
)
