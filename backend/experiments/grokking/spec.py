"""Phase diagrams of toy networks: one network for every cell of a grid over two parameters.

Source: arXiv:2205.10343, sections 3 and 4. A grid of one cell is a single run.
"""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from backend.experiments.grokking.presets import PRESETS
from backend.experiments.kind import ExperimentKind, ExperimentParameters, Place
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
    """A grid of toy networks over two of their parameters."""

    task: Literal["addition", "s3"] = Field("addition", title="Task")
    loss: Literal["mse", "ce"] = Field(
        "mse", title="Loss", description="Squared error against random targets, or cross-entropy"
    )
    p: int | None = Field(
        None, ge=3, le=40, title="p", description="Numbers to add (default 10); S3 has 6 elements"
    )
    width: int = Field(200, ge=1, le=1024, title="Width", description="Of both hidden layers")
    dim: int | None = Field(
        None,
        ge=1,
        le=16,
        title="Dimensions",
        description="Dimensions of a representation (default 1; S3 has 9)",
    )
    x: Axis = Field("lr_representation", title="Horizontal axis")
    x_values: Values = Field(
        title="Horizontal values", description="In rising order", examples=[[1e-4, 1e-3]]
    )
    y: Axis = Field("lr_decoder", title="Vertical axis")
    y_values: Values = Field(
        title="Vertical values", description="In rising order", examples=[[1e-4, 1e-3]]
    )
    steps: int = Field(10_000, ge=10, le=1_000_000, title="Budget S", description="Training steps")
    stop_early: bool = Field(
        True, title="Stop early", description="Stop a network once its phase is known"
    )
    lr_representation: Rate = Field(1e-3, title="Representation learning rate")
    lr_decoder: Rate = Field(1e-4, title="Decoder learning rate")
    wd_decoder: Rate = Field(0.0, title="Decoder weight decay")
    wd_representation: Rate = Field(0.0, title="Representation weight decay")
    train_fraction: float = Field(
        45 / 55, gt=0, le=1, title="Training fraction", description="Fraction of all pairs"
    )
    init_scale: float = Field(
        1.0, gt=0, le=1e3, title="Decoder init scale", description="Factor of initial parameters"
    )
    dropout: float = Field(0.0, ge=0, lt=1, title="Dropout")
    batch_size: int = Field(0, ge=0, le=10_000, title="Batch size", description="0: full batch")
    seed: Seed = Field(0, title="Init seed")
    split_seed: Seed = Field(58, title="Split seed", description="Targets and training pairs")


class CompletePhaseDiagramParameters(PhaseDiagramParameters, ExperimentParameters):
    """Phase diagram with the defaults of its task."""

    p: int
    dim: int

    def problem(self) -> Problem:
        """Return the problem that the networks learn."""
        return Problem(self.task, self.p, self.width, self.loss, self.dim)

    def grid(self) -> Grid:
        """Return the grid; raises ValueError if the axes make none."""
        self.problem()
        base = Setting(**{field.name: getattr(self, field.name) for field in fields(Setting)})
        return Grid((self.x, tuple(self.x_values)), (self.y, tuple(self.y_values)), base)

    def places(self) -> list[Place]:
        """Return the two coordinates of every cell, row by row."""
        problem, settings = self.problem(), self.grid().settings()
        n_pairs = len(problem.pairs())
        if any(n_train(problem, setting) == n_pairs for setting in settings):
            raise ValueError(
                f"train_fraction: all {n_pairs} pairs are training pairs, so none is left to test"
            )
        axes = (self.x, self.y)
        return [{axis: getattr(setting, axis) for axis in axes} for setting in settings]

    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""
        problem = self.problem()
        n_pairs, forward = len(problem.pairs()), problem.shape().flop_per_row() / 3
        rows = sum(n_pairs + 2 * n_train(problem, s) for s in self.grid().settings())
        return float(forward * rows * self.steps)

    def label(self) -> str:
        """Return size, seed, budget, axes and task."""
        size = f"{len(self.x_values)} × {len(self.y_values)}"
        if size == "1 × 1":
            size = f"one run at {self.x_values[0]:g}, {self.y_values[0]:g}"
        axes = f"{AXIS_TITLES[self.x]} × {AXIS_TITLES[self.y]}"
        task = "S3" if self.task == "s3" else f"addition to {self.p}"
        return f"{size}, seed {self.seed}, S {self.steps:,} · {axes} · {task}"


def _complete(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    defaults = {"p": 6, "dim": 9} if request["task"] == "s3" else {"p": 10, "dim": 1}
    missing = {name: value for name, value in defaults.items() if request[name] is None}
    # The value of a parameter that an axis varies is not used: requests that differ in it are one.
    unused = {
        name: PhaseDiagramParameters.model_fields[name].default
        for name in (request["x"], request["y"])
    }
    return {**request, **missing, **unused}


PHASE_DIAGRAM = ExperimentKind(
    name="phase_diagram",
    title="Phase diagram",
    summary="A grid of toy networks over two parameters: which learn, memorise, grok or neither.",
    page="/grokking",
    schema=PhaseDiagramParameters,
    params=CompletePhaseDiagramParameters,
    presets=PRESETS,
    complete=_complete,
)
