"""Phase diagrams of the toys of effective theory: a network for every cell of a grid.

Source: arXiv:2205.10343, sections 3 and 4. A grid of one cell is a single run.
"""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from backend.experiments.grokking.presets import PRESETS
from backend.experiments.kind import Checked, ExperimentKind
from backend.schemas.parameters import MAX_INTEGER, Parameters
from backend.store.database import Store
from compute.grokking.grids import Axis, Grid
from compute.grokking.problems import Problem, Setting, n_train

MAX_SIDE = 40
AXIS_TITLES: dict[str, str] = {
    "lr_representation": "representation learning rate",
    "lr_decoder": "decoder learning rate",
    "wd_decoder": "decoder weight decay",
    "wd_representation": "representation weight decay",
    "train_fraction": "training fraction",
    "init_scale": "decoder init scale",
    "dropout": "dropout",
    "batch_size": "batch size (0: all)",
    "seed": "init seed",
    "split_seed": "split seed",
}
Values = Annotated[
    list[Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]],
    Field(min_length=1, max_length=MAX_SIDE),
]
Rate = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class PhaseDiagramParameters(Parameters):
    """A grid of toy networks over two of their settings."""

    task: Literal["addition", "s3"] = Field("addition", title="Task")
    loss: Literal["mse", "ce"] = Field(
        "mse", title="Loss", description="Squared error to random targets, or cross-entropy"
    )
    p: int | None = Field(
        None, ge=3, le=40, title="p", description="Numbers to add: 10; S3 has 6 elements"
    )
    width: int = Field(200, ge=1, le=1024, title="Width", description="Of both hidden layers")
    dim: int | None = Field(
        None, ge=1, le=16, title="Dimensions", description="Of a representation: 1; S3 has 9"
    )
    x: Axis = Field("lr_representation", title="Axis across")
    x_values: Values = Field(title="Its values", description="Rising", examples=[[1e-4, 1e-3]])
    y: Axis = Field("lr_decoder", title="Axis upwards")
    y_values: Values = Field(title="Its values", description="Rising", examples=[[1e-4, 1e-3]])
    steps: int = Field(10_000, ge=10, le=1_000_000, title="Budget S", description="Steps")
    stop_early: bool = Field(
        True, title="Stop early", description="Let a cell go once its phase is known"
    )
    lr_representation: Rate = Field(1e-3, title="Representation learning rate")
    lr_decoder: Rate = Field(1e-4, title="Decoder learning rate")
    wd_decoder: Rate = Field(0.0, title="Decoder weight decay")
    wd_representation: Rate = Field(0.0, title="Representation weight decay")
    train_fraction: float = Field(
        45 / 55, gt=0, le=1, title="Training fraction", description="Of all pairs"
    )
    init_scale: float = Field(
        1.0, gt=0, le=1e3, title="Decoder init scale", description="Factor of its first parameters"
    )
    dropout: float = Field(0.0, ge=0, lt=1, title="Dropout")
    batch_size: int = Field(0, ge=0, le=10_000, title="Batch size", description="0: all pairs")
    seed: Seed = Field(0, title="Init seed")
    split_seed: Seed = Field(58, title="Split seed", description="Targets and training pairs")


def _complete(store: Store, asked: Checked) -> Checked:
    is_s3 = asked["task"] == "s3"
    usual = {"p": 6, "dim": 9} if is_s3 else {"p": 10, "dim": 1}
    whole = {**asked, **{name: value for name, value in usual.items() if asked[name] is None}}
    # What an axis varies has no value of its own: two such requests are one.
    defaults = {name: about.default for name, about in PhaseDiagramParameters.model_fields.items()}
    return {**whole, whole["x"]: defaults[whole["x"]], whole["y"]: defaults[whole["y"]]}


def problem_of(asked: Checked) -> Problem:
    """Return what the cells learn."""
    return Problem(asked["task"], asked["p"], asked["width"], asked["loss"], asked["dim"])


def grid_of(asked: Checked) -> Grid:
    """Return the grid; raises ValueError for axes that make none."""
    problem_of(asked)
    base = Setting(**{one.name: asked[one.name] for one in fields(Setting)})
    return Grid(
        (asked["x"], tuple(asked["x_values"])), (asked["y"], tuple(asked["y_values"])), base
    )


def _places(asked: Checked) -> list[dict[str, Any]]:
    grid, problem = grid_of(asked), problem_of(asked)
    n_pairs = len(problem.pairs())
    if any(n_train(problem, one) == n_pairs for one in grid.settings()):
        raise ValueError(
            f"train_fraction: all {n_pairs} pairs are trained on, and none is left to test"
        )
    return [
        {grid.x[0]: getattr(one, grid.x[0]), grid.y[0]: getattr(one, grid.y[0])}
        for one in grid.settings()
    ]


def _flop(asked: Checked) -> float:
    problem = problem_of(asked)
    shape, pairs = problem.shape(), len(problem.pairs())
    forward = shape.flop_per_row() / 3
    rows = sum(pairs + 2 * n_train(problem, one) for one in grid_of(asked).settings())
    return float(forward * rows * asked["steps"])


def _label(asked: Checked) -> str:
    shape = f"{len(asked['x_values'])} × {len(asked['y_values'])}"
    axes = f"{AXIS_TITLES[asked['x']]} × {AXIS_TITLES[asked['y']]}"
    task = "S3" if asked["task"] == "s3" else f"addition to {asked['p']}"
    if shape == "1 × 1":
        shape = f"one run at {asked['x_values'][0]:g}, {asked['y_values'][0]:g}"
    return f"{shape}, seed {asked['seed']}, S {asked['steps']:,} · {axes} · {task}"


PHASE_DIAGRAM = ExperimentKind(
    name="phase_diagram",
    title="Phase diagram",
    summary="A grid of toy networks over two settings: which learn, memorise, grok or neither.",
    page="/grokking",
    schema=PhaseDiagramParameters,
    presets=PRESETS,
    places=_places,
    flop=_flop,
    complete=_complete,
    label=_label,
)
