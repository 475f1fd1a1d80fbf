"""Omnigrok: networks with large initial parameters that decay and generalise late.

Source: arXiv:2210.01117. On the sphere, the norm stays constant instead. Cells are the product of
initial size, weight decay, training-set size and seed.
"""

import hashlib
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from backend.errors import InvalidInputError
from backend.experiments.kind import ExperimentKind, ExperimentParameters, Place
from backend.experiments.omnigrok.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER, NO_NUL, Parameters
from backend.store import data_files
from backend.store.database import Store
from compute.ensembles.shapes import Shape
from compute.grokking import mnist_files
from compute.grokking.omnigrok_setting import DATA_INFO, N_DIGITS, Data, Setting, n_test, shape_of

MAX_SIDE, MAX_CELLS = 60, 1600
_MNIST_REMEDY = (
    "Put MNIST's four IDX files in a folder below `imports` in the server's data directory, and "
    "name that folder"
)
AXES = {"n_train": "n_train", "seeds": "seed", "weight_decays": "weight_decay", "alphas": "alpha"}
"""Parameter of each axis -> its name in the place of a cell; the last one varies fastest."""
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
        "digits",
        title="Data",
        description="Digits of scikit-learn, MNIST from a folder, or labels of a teacher network",
    )
    mnist: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        pattern=NO_NUL,
        title="MNIST",
        description="Folder below imports with the four IDX files of MNIST",
        examples=["mnist"],
    )
    alphas: Alphas = Field(
        title="Initial sizes alpha", description="Factors of initial parameters", examples=[[8.0]]
    )
    weight_decays: Decays = Field([0.0], title="Weight decays", description="On the sphere: 0")
    n_train: Sizes = Field([200], title="Training-set sizes")
    seeds: Seeds = Field([0], title="Seeds", description="Initial parameters and batches")
    on_sphere: bool = Field(
        False, title="On the sphere", description="Keep the initial norm after every step"
    )
    steps: int = Field(15_000, ge=10, le=1_000_000, title="Steps")
    learning_rate: float = Field(1e-3, ge=0, le=1, title="Learning rate", description="Of AdamW")
    hidden: Widths | None = Field(
        None, title="Hidden widths", description="Default: as published", examples=[[100, 100]]
    )
    batch_size: int = Field(0, ge=0, le=60_000, title="Batch size", description="0: full batch")
    data_seed: int = Field(
        0, ge=0, le=MAX_INTEGER, title="Data seed", description="Of the split, or of the teacher"
    )
    dtype: Literal["float32", "float64"] = Field("float32", title="Precision")
    train_threshold: Share = Field(0.99, title="Train accuracy to count as fitted")
    test_threshold: Share | None = Field(
        None,
        title="Test accuracy to count as generalised",
        description="Default 0.9, for MNIST 0.6",
    )
    eval_every: int = Field(
        10,
        ge=1,
        le=10_000,
        # The name before it was renamed: in stored parameters and old requests.
        validation_alias=AliasChoices("eval_every", "look_every"),
        title="Evaluate every",
        description="Steps between evaluations of the accuracies",
    )
    stop_early: bool = Field(
        False, title="Stop early", description="Stop a network once it has reached both accuracies"
    )


class MnistFolder(BaseModel):
    """Folder of MNIST below imports, and the digest of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    sha256: str


class CompleteOmnigrokParameters(OmnigrokParameters, ExperimentParameters):
    """Perceptrons with the defaults of their data."""

    # In place of the folder's name, so that changed files change the key.
    mnist: MnistFolder | None = None  # type: ignore[assignment]
    hidden: Widths
    test_threshold: Share

    def shape(self) -> Shape:
        """Return the shape of the networks."""
        return shape_of(self.data, self.hidden)

    def setting(self, place: Place) -> Setting:
        """Return the training setting of a cell."""
        return Setting(
            alpha=place["alpha"],
            weight_decay=place["weight_decay"],
            learning_rate=self.learning_rate,
            on_sphere=self.on_sphere,
            batch_size=self.batch_size,
            seed=place["seed"],
        )

    def places(self) -> list[Place]:
        """Return training-set size, seed, weight decay and alpha of every cell."""
        lists = {name: getattr(self, name) for name in AXES}
        for name, values in lists.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a repeated value")
        if self.on_sphere and any(self.weight_decays):
            raise ValueError("weight_decays: on the sphere the norm is constant, want 0 alone")
        if self.data == "digits" and max(self.n_train) >= N_DIGITS:
            raise ValueError(f"n_train: of {N_DIGITS} digits some are needed to test on")
        n_cells = math.prod(len(values) for values in lists.values())
        if n_cells > MAX_CELLS:
            raise ValueError(
                f"alphas and the other lists make {n_cells} cells, at most {MAX_CELLS}"
            )
        return [
            dict(zip(AXES.values(), values, strict=True)) for values in product(*lists.values())
        ]

    def flop_per_step(self, n_train: int) -> float:
        """Return the floating-point operations of one network's step with its evaluations."""
        forward = self.shape().flop_per_row() / 3
        batch = min(self.batch_size or n_train, n_train)
        evaluated = n_test(self.data, n_train) + (n_train if batch < n_train else 0)
        return forward * (3 * batch + evaluated / self.eval_every)

    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""
        per_step = sum(self.flop_per_step(place["n_train"]) for place in self.places())
        return float(per_step * self.steps)

    def label(self) -> str:
        """Return the data, the axes and the steps."""
        parts = [DATA_TITLES[self.data] + (" on the sphere" if self.on_sphere else "")]
        axes = []
        for parameter, name in AXES.items():
            values = getattr(self, parameter)
            if len(values) > 1:
                axes.append(f"{len(values)} {AXIS_PLURALS[name]}")
            elif name == "alpha" or (name == "weight_decay" and values[0] > 0):
                parts.append(f"{name.replace('_', ' ')} {values[0]:g}")
        parts += [" × ".join(axes[::-1])] if axes else []
        return ", ".join([*parts, f"{self.steps:,} steps"])


def read_mnist_folder(store: Store, name: str) -> tuple[MnistFolder, int]:
    """Return a folder with the digest of its four files, and its number of training images.

    Raises:
        InvalidInputError: the folder or a file is missing, or has another format.
    """
    try:
        folder = data_files.folder_path(store, name, "mnist")
    except InvalidInputError as error:
        raise InvalidInputError(error.problem, _MNIST_REMEDY, "mnist") from error
    try:
        paths = {part: mnist_files.find_file(folder, part) for part in mnist_files.FILES}
        n_images = mnist_files.read_row_count(paths["images"], mnist_files.IMAGES_MAGIC)
    except (ValueError, OSError) as error:
        problem = str(error).replace(str(folder), name)
        raise InvalidInputError(
            f"mnist: {problem}", "Name a folder below imports", "mnist"
        ) from error
    digests = [
        data_files.describe_file(store, f"{name}/{path.name}", "mnist")["sha256"]
        for path in paths.values()
    ]
    return MnistFolder(file=name, sha256=_joint_digest(digests)), n_images


def _joint_digest(digests: Sequence[str]) -> str:
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
    return _joint_digest(digests)


def _complete(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    facts = DATA_INFO[request["data"]]
    params = {
        **request,
        "hidden": request["hidden"] or list(facts.hidden),
        "test_threshold": request["test_threshold"] or facts.test_accuracy,
        # No cell depends on the order of a list.
        **{name: sorted(request[name]) for name in AXES},
    }
    if request["data"] != "mnist":
        return {**params, "mnist": None}
    if request["mnist"] is None:
        raise InvalidInputError(
            "mnist is missing: MNIST is not part of this program", _MNIST_REMEDY, "mnist"
        )
    folder, n_images = read_mnist_folder(store, request["mnist"])
    if (largest := max(request["n_train"])) > n_images:
        raise InvalidInputError(
            f"n_train {largest}: {request['mnist']} has {n_images} training images",
            f"Choose at most {n_images}",
            "n_train",
        )
    return {**params, "mnist": folder.model_dump()}


OMNIGROK = ExperimentKind(
    name="omnigrok",
    title="Omnigrok",
    summary="Networks that start large, fit at once and generalise when weight decay shrinks them.",
    page="/omnigrok",
    schema=OmnigrokParameters,
    params=CompleteOmnigrokParameters,
    presets=PRESETS,
    complete=_complete,
    cells_per_unit=4,  # a few per cent slower than 8, but half the time until the first result
)
