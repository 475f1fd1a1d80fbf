"""Transformers that add modulo p: memorise, form a clock, clean up.

Source: arXiv:2301.05217. Cells are the products of weight decays, initial scales and seeds; all
else is common to them.
"""

from itertools import product
from typing import Annotated, Any

from pydantic import Field

from backend.experiments.kind import Checked, ExperimentKind
from backend.experiments.modular_addition.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER, Parameters
from compute.grokking.modular_setting import Architecture, Setting, n_train

# Kept in memory at some sixty looks while a network trains: a gigabyte.
MAX_PARAMETERS = 4_000_000
MAX_CELLS = 64
# Above it, maps over all pairs take a cell beyond a few megabytes.
MAX_P = 149
LOOK_EVERY = 10
MAX_VALUES = 16
Amounts = Annotated[
    list[Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]],
    Field(min_length=1, max_length=MAX_VALUES),
]
Scales = Annotated[
    list[Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]],
    Field(min_length=1, max_length=MAX_VALUES),
]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_INTEGER)]], Field(min_length=1, max_length=MAX_VALUES)
]


class ModularAdditionParameters(Parameters):
    """Transformers of one layer that learn a + b modulo p."""

    p: int = Field(113, ge=3, le=MAX_P, title="p", description="Numbers to add; odd")
    train_fraction: float = Field(
        0.3, gt=0, lt=1, title="Training fraction", description="Of all p² pairs"
    )
    weight_decay: Amounts = Field(
        [1.0], title="Weight decays", description="A network for each", examples=[[1.0, 0.0]]
    )
    alpha: Scales = Field(
        [1.0], title="Initial scales α", description="Factor of all initial parameters"
    )
    seed: Seeds = Field([0], title="Init seeds")
    on_sphere: bool = Field(
        False, title="On the sphere", description="Keep the initial norm after every step"
    )
    steps: int = Field(40_000, ge=20, le=1_000_000, title="Steps", description="Full batch")
    learning_rate: float = Field(1e-3, gt=0, le=10, allow_inf_nan=False, title="Learning rate")
    d_model: int = Field(128, ge=2, le=1024, title="d_model")
    heads: int = Field(4, ge=1, le=64, title="Heads")
    d_mlp: int = Field(512, ge=1, le=4096, title="Neurons")
    split_seed: int = Field(0, ge=0, le=MAX_INTEGER, title="Split seed")


def shape_of(asked: Checked) -> Architecture:
    """Return the shape of the transformers; raises ValueError for one that there is not."""
    if asked["p"] % 2 == 0:
        raise ValueError(f"p is {asked['p']}, want an odd number: even ones have no last sine")
    return Architecture(asked["p"], asked["d_model"], asked["heads"], asked["d_mlp"])


def n_parameters(asked: Checked) -> int:
    """Return how many parameters a network has."""
    p, d, m = asked["p"], asked["d_model"], asked["d_mlp"]
    return int((p + 1) * d + 3 * d + 4 * d * d + 2 * d * m + m + d + d * p)


def settings_of(asked: Checked) -> list[Setting]:
    """Return the setting of every cell, in their order.

    Raises:
        ValueError: a value that is named twice, too many cells, or nothing to train on.
    """
    shape_of(asked)
    if n_parameters(asked) > MAX_PARAMETERS:
        raise ValueError(
            f"d_model {asked['d_model']} with d_mlp {asked['d_mlp']} has {n_parameters(asked):,} "
            f"parameters, kept at every look; at most {MAX_PARAMETERS:,}"
        )
    names = ("seed", "alpha", "weight_decay")
    for name in names:
        if len(set(asked[name])) < len(asked[name]):
            raise ValueError(f"{name} names a value twice; cells of equal settings are equal")
    points = list(product(*(asked[name] for name in names)))
    if len(points) > MAX_CELLS:
        raise ValueError(f"weight_decay, alpha and seed make {len(points)} cells, at most 64")
    if asked["train_fraction"] * asked["p"] ** 2 < 1:
        raise ValueError(
            f"train_fraction {asked['train_fraction']} of {asked['p'] ** 2} is no pair"
        )
    return [
        Setting(
            weight_decay=decay,
            learning_rate=asked["learning_rate"],
            train_fraction=asked["train_fraction"],
            alpha=alpha,
            on_sphere=asked["on_sphere"],
            seed=seed,
            split_seed=asked["split_seed"],
        )
        for seed, alpha, decay in points
    ]


def _places(asked: Checked) -> list[dict[str, Any]]:
    return [
        {"weight_decay": one.weight_decay, "alpha": one.alpha, "seed": one.seed}
        for one in settings_of(asked)
    ]


def _flop(asked: Checked) -> float:
    shape, pairs = shape_of(asked), asked["p"] ** 2
    train = n_train(asked["p"], asked["train_fraction"])
    # Forward and backward on the training set; forward on the test set at every look.
    rows = train + (pairs - train) / (3 * LOOK_EVERY)
    return float(shape.flop_per_row() * rows * asked["steps"] * len(settings_of(asked)))


def _label(asked: Checked) -> str:
    def values(name: str) -> str:
        return " and ".join(f"{value:g}" for value in asked[name])

    words = [f"p {asked['p']}", f"{100 * asked['train_fraction']:g} % of pairs"]
    words += [f"weight decay {values('weight_decay')}"]
    if asked["on_sphere"]:
        words.append("on the sphere")
    if asked["alpha"] != [1.0]:
        words.append(f"α {values('alpha')}")
    words += [f"d_model {asked['d_model']}", f"{asked['steps']:,} steps"]
    return ", ".join([*words, f"seed {values('seed')}"])


MODULAR_ADDITION = ExperimentKind(
    name="modular_addition",
    title="Modular addition",
    summary="Transformers that add modulo p: how they memorise, form a clock and clean up.",
    page="/clock",
    schema=ModularAdditionParameters,
    presets=PRESETS,
    places=_places,
    flop=_flop,
    label=_label,
    group=2,
)
