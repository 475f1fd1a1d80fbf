"""Omnigrok: networks that begin large, decay, and generalise late; or stay on a sphere.

Source: arXiv:2210.01117. Cells are all combinations of initial size, weight decay, training-set
size and seed.
"""

import hashlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from backend.errors import InvalidInputError
from backend.experiments.kind import Checked, ExperimentKind
from backend.experiments.omnigrok.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER, NO_NUL, Parameters
from backend.store.database import Store
from compute.grokking import mnist_files
from compute.grokking.omnigrok_setting import DATA_INFO, N_DIGITS, Data, Setting, n_test, shape_of

MAX_SIDE, MAX_CELLS = 60, 1600
_WANTED = (
    "Put MNIST's four IDX files in a folder below `imports` in the server's data directory, and "
    "name that folder"
)
AXES = {"n_train": "n_train", "seeds": "seed", "weight_decays": "weight_decay", "alphas": "alpha"}
"""The parameter of each axis, and what it sets of a cell; the last one varies fastest."""
AXIS_TITLES = {
    "n_train": "training-set size",
    "seed": "seed",
    "weight_decay": "weight decay",
    "alpha": "alpha",
}
AXIS_PLURALS = {
    "n_train": "data sizes",
    "seed": "seeds",
    "weight_decay": "weight decays",
    "alpha": "alphas",
}
DATA_TITLES: dict[Data, str] = {
    "digits": "digits",
    "mnist": "MNIST",
    "teacher_student": "teacher and student",
}


_SIDE = Field(min_length=1, max_length=MAX_SIDE)
Alphas = Annotated[list[Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]], _SIDE]
Decays = Annotated[list[Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]], _SIDE]
Sizes = Annotated[list[Annotated[int, Field(ge=1, le=60_000)]], _SIDE]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=MAX_INTEGER)]], _SIDE]
Widths = Annotated[list[Annotated[int, Field(ge=1, le=2048)]], Field(min_length=1, max_length=4)]
Share = Annotated[float, Field(gt=0, le=1)]


class OmnigrokParameters(Parameters):
    """Perceptrons for every combination of initial size, weight decay, data size and seed."""

    data: Data = Field(
        "digits", title="Data", description="Of scikit-learn; MNIST from a folder; or a teacher's"
    )
    mnist: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        pattern=NO_NUL,
        title="MNIST",
        description="Folder below imports with its four IDX files",
        examples=["mnist"],
    )
    alphas: Alphas = Field(
        title="Initial sizes alpha", description="Factors of all first parameters", examples=[[8.0]]
    )
    weight_decays: Decays = Field([0.0], title="Weight decays", description="0 on the sphere")
    n_train: Sizes = Field([200], title="Training-set sizes")
    seeds: Seeds = Field([0], title="Seeds", description="Of first parameters and batches")
    on_sphere: bool = Field(
        False, title="On the sphere", description="Keep the initial norm after every step"
    )
    steps: int = Field(15_000, ge=10, le=1_000_000, title="Steps")
    learning_rate: float = Field(1e-3, ge=0, le=1, title="Learning rate", description="Of AdamW")
    hidden: Widths | None = Field(
        None, title="Hidden widths", description="As published if left out", examples=[[100, 100]]
    )
    batch_size: int = Field(0, ge=0, le=60_000, title="Batch size", description="0: all rows")
    data_seed: int = Field(
        0, ge=0, le=MAX_INTEGER, title="Data seed", description="Of the split, or of the teacher"
    )
    dtype: Literal["float32", "float64"] = Field("float32", title="Precision")
    train_threshold: Share = Field(0.99, title="Train accuracy that counts as fitted")
    test_threshold: Share | None = Field(
        None,
        title="Test accuracy that counts as general",
        description="0.9 if left out, 0.6 for MNIST",
    )
    look_every: int = Field(
        10, ge=1, le=10_000, title="Look every", description="Steps between looks at accuracies"
    )
    stop_early: bool = Field(
        False, title="Stop early", description="Let a network go once it has reached both"
    )


def known_mnist(store: Store, name: str) -> tuple[dict[str, str], int]:
    """Return a folder with the digest of its four files, and how many training images it has.

    Raises:
        InvalidInputError: the folder or a file is not there, or is of another format.
    """
    from backend.store import data_files as files  # which knows experiments, in turn

    try:
        folder = files.folder_path(store, name, "mnist")
    except InvalidInputError as error:
        raise InvalidInputError(error.problem, _WANTED, "mnist") from error
    try:
        paths = {one: mnist_files.find_file(folder, one) for one in mnist_files.FILES}
        count = mnist_files.read_row_count(paths["images"], mnist_files.IMAGES_MAGIC)
    except (ValueError, OSError) as error:
        fault = str(error).replace(str(folder), name)
        raise InvalidInputError(
            f"mnist: {fault}", "Name a folder below imports", "mnist"
        ) from error
    digests = [
        files.describe_file(store, f"{name}/{path.name}", "mnist")["sha256"]
        for path in paths.values()
    ]
    return {"file": name, "sha256": _joined(digests)}, count


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256(":".join(digests).encode()).hexdigest()


def mnist_digest(folder: Path) -> str:
    """Return the digest of MNIST's four files in a folder.

    Raises:
        ValueError: one is missing.
    """
    digests = []
    for name in mnist_files.FILES:
        with mnist_files.find_file(folder, name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return _joined(digests)


def _complete(store: Store, asked: Checked) -> Checked:
    facts = DATA_INFO[asked["data"]]
    whole = {
        **asked,
        "hidden": asked["hidden"] or list(facts.hidden),
        "test_threshold": asked["test_threshold"] or facts.test_accuracy,
        # The order of a list is nothing that a cell depends on.
        **{name: sorted(asked[name]) for name in AXES},
    }
    if asked["data"] != "mnist":
        return {**whole, "mnist": None}
    if asked["mnist"] is None:
        raise InvalidInputError(
            "mnist is missing: MNIST is not part of this program", _WANTED, "mnist"
        )
    known, count = known_mnist(store, asked["mnist"])
    if (most := max(asked["n_train"])) > count:
        raise InvalidInputError(
            f"n_train {most}: {asked['mnist']} has {count} training images",
            f"Choose at most {count}",
            "n_train",
        )
    return {**whole, "mnist": known}


def _check(asked: Checked) -> None:
    for name in AXES:
        values = asked[name]
        if len(set(values)) < len(values):
            raise ValueError(f"{name} names a value twice")
    if asked["on_sphere"] and any(asked["weight_decays"]):
        raise ValueError("weight_decays: on the sphere the norm is kept, want 0 alone")
    if asked["data"] == "digits" and max(asked["n_train"]) >= N_DIGITS:
        raise ValueError(f"n_train: there are {N_DIGITS} digits, and some are to test on")
    count = 1
    for name in AXES:
        count *= len(asked[name])
    if count > MAX_CELLS:
        raise ValueError(f"alphas and the other lists make {count} networks, want {MAX_CELLS}")


def places(asked: Checked) -> list[dict[str, Any]]:
    """Return what sets each cell apart; raises ValueError, naming the parameter."""
    _check(asked)
    lists = (asked[name] for name in AXES)
    return [dict(zip(AXES.values(), values, strict=True)) for values in product(*lists)]


def setting_of(asked: Checked, place: Checked) -> Setting:
    """Return how the network of a cell is trained."""
    return Setting(
        alpha=place["alpha"],
        weight_decay=place["weight_decay"],
        learning_rate=asked["learning_rate"],
        on_sphere=asked["on_sphere"],
        batch_size=asked["batch_size"],
        seed=place["seed"],
    )


def flop_per_step(asked: Checked, n_train: int) -> float:
    """Return floating-point operations of one network's step, with its share of the looks."""
    forward = shape_of(asked["data"], asked["hidden"]).flop_per_row() / 3
    batch = min(asked["batch_size"] or n_train, n_train)
    looked_at = n_test(asked["data"], n_train) + (n_train if batch < n_train else 0)
    rows: float = 3 * batch + looked_at / asked["look_every"]
    return forward * rows


def _flop(asked: Checked) -> float:
    per_step = sum(flop_per_step(asked, place["n_train"]) for place in places(asked))
    return float(per_step * asked["steps"])


def _label(asked: Checked) -> str:
    parts = [DATA_TITLES[asked["data"]] + (" on the sphere" if asked["on_sphere"] else "")]
    axes = []
    for name, one in AXES.items():
        values = asked[name]
        if len(values) > 1:
            axes.append(f"{len(values)} {AXIS_PLURALS[one]}")
        elif one == "alpha" or (one == "weight_decay" and values[0] > 0):
            parts.append(f"{AXIS_TITLES[one]} {values[0]:g}")
    parts += [" × ".join(axes[::-1])] if axes else []
    return ", ".join([*parts, f"{asked['steps']:,} steps"])


OMNIGROK = ExperimentKind(
    name="omnigrok",
    title="Omnigrok",
    summary="Networks that begin large, fit at once and generalise when weight decay shrinks them.",
    page="/omnigrok",
    schema=OmnigrokParameters,
    presets=PRESETS,
    places=places,
    flop=_flop,
    complete=_complete,
    label=_label,
    group=4,  # a few per cent slower than 8, and something to see in half the time
)
