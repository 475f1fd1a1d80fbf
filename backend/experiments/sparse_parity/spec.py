"""Multitask sparse parity: a network for every width, sample size, alpha and seed.

Source: arXiv:2303.13506, section 3. Our alpha is the paper's: p_i goes as i^-(alpha + 1).
"""

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

from pydantic import Field

from backend.experiments.kind import Checked, ExperimentKind
from backend.experiments.sparse_parity.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER, Parameters
from backend.store.database import Store
from compute.ensembles.shapes import Shape
from compute.parity_problem import Problem, Setting

MAX_CELLS = 2_000
MAX_VALUES = 60
LISTS = ("alphas", "widths", "samples", "seeds")
# Test inputs, the same for all networks: 1.6 GB.
MAX_TEST_NUMBERS = 4e8
Width = Annotated[int, Field(ge=1, le=10_000)]
Samples = Annotated[int, Field(ge=0, le=20_000_000)]
Alpha = Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class SparseParityParameters(Parameters):
    """Networks on sparse parities, one for every choice of width, sample size, alpha and seed."""

    widths: list[Width] = Field(
        [150], min_length=1, max_length=MAX_VALUES, title="Widths", description="Hidden neurons"
    )
    samples: list[Samples] = Field(
        [0],
        min_length=1,
        max_length=MAX_VALUES,
        title="Sample sizes D",
        description="Of a fixed sample; 0: fresh data every step",
    )
    alphas: list[Alpha] = Field(
        [0.4],
        min_length=1,
        max_length=MAX_VALUES,
        title="Alphas",
        description="Subtask i is asked as often as i^-(alpha + 1)",
    )
    seeds: list[Seed] = Field(
        [0], min_length=1, max_length=MAX_VALUES, title="Seeds", description="Of start and data"
    )
    tasks: int = Field(30, ge=1, le=2_000, title="Subtasks m")
    bits: int = Field(24, ge=1, le=1_000, title="Bits n", description="Random ones")
    subset: int = Field(3, ge=1, le=20, title="Subset k", description="Bits that are added up")
    problem_seed: Seed = Field(0, title="Seed of the subsets")
    learning_rate: float = Field(2e-3, gt=0, le=10, allow_inf_nan=False, title="Learning rate")
    batch_size: int = Field(2_000, ge=1, le=100_000, title="Batch size")
    steps: int = Field(12_000, ge=10, le=5_000_000, title="Steps", description="Budget")
    test_points: int = Field(500, ge=10, le=5_000, title="Test points", description="Per subtask")
    patience: int = Field(
        10,
        ge=0,
        le=1_000,
        title="Patience",
        description="Looks in a row at which the test loss of a fixed sample rises before its "
        "network stops; 0: it never does",
    )
    patience_after: int = Field(
        4_000, ge=0, le=5_000_000, title="Patience from", description="Step up to which none counts"
    )
    patience_every: int = Field(
        50, ge=1, le=100_000, title="Patience looks", description="Steps between them"
    )


def _complete(store: Store, asked: Checked) -> Checked:
    """Sort what is listed, so that two requests for the same cells are one."""
    whole = {**asked, **{name: sorted(set(asked[name])) for name in LISTS}}
    if any(whole["samples"]) and whole["patience"]:
        return whole
    fields = SparseParityParameters.model_fields
    without = {name: fields[name].default for name in ("patience_after", "patience_every")}
    return {**whole, "patience": 0, **without}  # there is nothing to stop


def problem_of(asked: Checked, alpha: float) -> Problem:
    """Return what the networks of one alpha are asked; raises ValueError if there is none."""
    return Problem(asked["tasks"], asked["bits"], asked["subset"], alpha, asked["problem_seed"])


def setting_of(asked: Checked, place: Checked) -> Setting:
    """Return how the network of a cell is trained."""
    return Setting(
        learning_rate=asked["learning_rate"],
        batch_size=asked["batch_size"],
        samples=place["samples"],
        seed=place["seed"],
    )


def places(asked: Checked) -> list[dict[str, Any]]:
    """Return alpha, width, samples and seed of every cell; raises ValueError for too many."""
    lists: list[Sequence[Any]] = [asked[name] for name in LISTS]
    count = 1
    for name, values in zip(LISTS, lists, strict=True):
        count *= len(values)
        if len(set(values)) != len(values):
            raise ValueError(f"{name}: a value comes twice; name each once")
    if count > MAX_CELLS:
        raise ValueError(
            f"widths x sample sizes x alphas x seeds make {count} cells, at most {MAX_CELLS}"
        )
    inputs = asked["tasks"] + asked["bits"]
    if asked["tasks"] * asked["test_points"] * inputs > MAX_TEST_NUMBERS:
        raise ValueError(
            f"test_points: {asked['test_points']} of each of {asked['tasks']} subtasks are more "
            "than memory holds; ask for fewer"
        )
    for alpha in asked["alphas"]:
        problem_of(asked, alpha)
    names = ("alpha", "width", "samples", "seed")
    return [dict(zip(names, values, strict=True)) for values in product(*lists)]


def _flop(asked: Checked) -> float:
    inputs = asked["tasks"] + asked["bits"]
    rows = float(asked["batch_size"] * asked["steps"])
    return sum(
        Shape((inputs, place["width"], 2), "relu").flop_per_row() * rows for place in places(asked)
    )


def _values(name: str, values: Sequence[float]) -> str:
    shown = [f"{value:g}" for value in values]
    if len(shown) <= 3:
        return f"{name} {', '.join(shown)}"
    return f"{name} {shown[0]} to {shown[-1]} ({len(shown)})"


def _label(asked: Checked) -> str:
    words = [f"{asked['tasks']} subtasks", _values("width", asked["widths"])]
    if any(asked["samples"]):
        words.append(_values("D", asked["samples"]))
    words += [_values("α", asked["alphas"]), f"{asked['steps']:,} steps"]
    if asked["seeds"] != [0]:
        words.append(_values("seed", asked["seeds"]))
    return ", ".join(words)


SPARSE_PARITY = ExperimentKind(
    name="sparse_parity",
    title="Sparse parity",
    summary="Networks on parities of unequal frequency: each is a quantum, learned in its turn.",
    page="/parity",
    schema=SparseParityParameters,
    presets=PRESETS,
    places=places,
    flop=_flop,
    complete=_complete,
    label=_label,
)
