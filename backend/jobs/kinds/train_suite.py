"""train_suite: a suite of one's own, from a recipe."""

from pydantic import Field
from sqlalchemy.orm import Session

from backend.errors import NotReadyError
from backend.jobs.kinds.base import Checked, Cost, JobKind
from backend.schemas.parameters import File, Parameters
from backend.store import data_files as files
from backend.store.database import Store
from backend.training.recipe import Recipe, read_recipe

# 2N forward, 4N backward a token (arXiv:2001.08361, section 2.1).
_TRAINING_FLOP = 6.0
# Attention and MLP of one layer of GPT-NeoX: 12 h^2 parameters.
_LAYER = 12


class TrainSuiteParameters(Parameters):
    """A suite that is trained here, from a recipe below `imports`."""

    recipe: File = Field(
        title="Recipe",
        description="recipe.toml below imports: sources, sizes, schedule",
        examples=["recipe.toml"],
    )


def _check(store: Store, session: Session, asked: TrainSuiteParameters) -> Checked:
    found = files.known(store, asked.recipe, "recipe")
    recipe = read_recipe(files.path_of(store, asked.recipe, "recipe"))
    remote = next((s for s in recipe.source if s.kind != "folder"), None)
    if remote is not None and not store.settings.jobs_fetch:
        raise NotReadyError(
            f"source {remote.name} of the recipe is fetched from {remote.kind}, and jobs may not "
            "fetch",
            "Start the server and its workers with QUANTA_JOBS_FETCH=true",
        )
    folders = {s.name: s.package for s in recipe.source if s.kind == "folder"}
    return {
        "recipe": found,
        "folders": {
            name: files.folder_digest(files.folder_of(store, place, "recipe"))
            for name, place in folders.items()
        },
        "suite": recipe.name,
        "models": [m.name for m in recipe.model],
        "steps": recipe.training.steps,
    }


def _flop(recipe: Recipe) -> float:
    tokens = recipe.training.steps * recipe.training.batch_windows * recipe.data.context
    return sum(_TRAINING_FLOP * _LAYER * m.layers * m.hidden_size**2 * tokens for m in recipe.model)


def _cost(store: Store, session: Session, parameters: Checked) -> Cost:
    recipe = read_recipe(files.path_of(store, parameters["recipe"]["file"], "recipe"))
    return Cost(len(recipe.model) + 2, _flop(recipe), "FLOP")


TRAIN_SUITE = JobKind(
    name="train_suite",
    title="Training of a suite",
    summary="Models of several sizes, trained from a recipe and registered as a suite.",
    unit="stages",
    schema=TrainSuiteParameters,
    check=_check,
    cost=_cost,
)
