"""Multitask sparse parity: one network for every width, sample size, alpha and seed.

Source: arXiv:2303.13506, section 3. As in the paper, p_i is proportional to i^-(alpha + 1).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

from pydantic import Field

from backend.experiments.kind import ExperimentKind, ExperimentParameters, Place
from backend.experiments.sparse_parity.presets import PRESETS
from backend.schemas.parameters import MAX_INTEGER
from backend.store.database import Store
from compute.ensembles.shapes import Shape
from compute.parity_problem import Problem, Setting

MAX_CELLS = 2_000
MAX_VALUES = 60
AXES = {"alphas": "alpha", "widths": "width", "samples": "samples", "seeds": "seed"}
"""Parameter of each axis -> its name in the place of a cell; the last one varies fastest."""
# Limits the test inputs, which all networks share, to 1.6 GB.
MAX_TEST_NUMBERS = 4e8
Seed = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
_LENGTH = Field(min_length=1, max_length=MAX_VALUES)
Widths = Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], _LENGTH]
Samples = Annotated[list[Annotated[int, Field(ge=0, le=20_000_000)]], _LENGTH]
Alphas = Annotated[list[Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]], _LENGTH]


class SparseParityParameters(ExperimentParameters):
    """Networks on sparse parities: one for every width, sample size, alpha and seed."""

    widths: Widths = Field([150], title="Widths", description="Hidden neurons")
    samples: Samples = Field(
        [0], title="Sample sizes D", description="Size of a fixed sample; 0: fresh data every step"
    )
    alphas: Alphas = Field(
        [0.4],
        title="Alphas",
        description="Subtask i has a frequency proportional to i^-(alpha + 1)",
    )
    seeds: Annotated[list[Seed], _LENGTH] = Field(
        [0], title="Seeds", description="Initial parameters and data"
    )
    tasks: int = Field(30, ge=1, le=2_000, title="Subtasks m")
    bits: int = Field(24, ge=1, le=1_000, title="Bits n", description="Random input bits")
    subset: int = Field(3, ge=1, le=20, title="Subset k", description="Bits of a parity")
    problem_seed: Seed = Field(0, title="Seed of the subsets")
    learning_rate: float = Field(2e-3, gt=0, le=10, allow_inf_nan=False, title="Learning rate")
    batch_size: int = Field(2_000, ge=1, le=100_000, title="Batch size")
    steps: int = Field(12_000, ge=10, le=5_000_000, title="Steps", description="At most")
    test_points: int = Field(
        500, ge=10, le=5_000, title="Test points", description="Of each subtask"
    )
    patience: int = Field(
        10,
        ge=0,
        le=1_000,
        title="Patience",
        description="Stop a network on a fixed sample after this many evaluations in a row with a "
        "rising test loss; 0: never stop early",
    )
    patience_after: int = Field(
        4_000, ge=0, le=5_000_000, title="Patience from", description="Ignore rises up to this step"
    )
    patience_every: int = Field(
        50, ge=1, le=100_000, title="Patience interval", description="Steps between its evaluations"
    )

    def problem(self, alpha: float) -> Problem:
        """Return the problem of one alpha; raises ValueError for an invalid one."""
        return Problem(self.tasks, self.bits, self.subset, alpha, self.problem_seed)

    def setting(self, place: Place) -> Setting:
        """Return the training setting of a cell."""
        return Setting(
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            samples=place["samples"],
            seed=place["seed"],
        )

    def places(self) -> list[Place]:
        """Return alpha, width, sample size and seed of every cell."""
        lists: list[Sequence[float]] = [getattr(self, name) for name in AXES]
        for name, values in zip(AXES, lists, strict=True):
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: a value is repeated; name each once")
        n_cells = math.prod(len(values) for values in lists)
        if n_cells > MAX_CELLS:
            raise ValueError(
                f"widths x sample sizes x alphas x seeds make {n_cells} cells, at most {MAX_CELLS}"
            )
        if self.tasks * self.test_points * (self.tasks + self.bits) > MAX_TEST_NUMBERS:
            raise ValueError(
                f"test_points: {self.test_points} of each of {self.tasks} subtasks do not fit in "
                "memory; choose fewer"
            )
        for alpha in self.alphas:
            self.problem(alpha)
        return [dict(zip(AXES.values(), values, strict=True)) for values in product(*lists)]

    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""
        n_inputs, rows = self.tasks + self.bits, float(self.batch_size * self.steps)
        return sum(
            Shape((n_inputs, place["width"], 2), "relu").flop_per_row() * rows
            for place in self.places()
        )

    def label(self) -> str:
        """Return the parameters that runs usually differ in."""
        parts = [f"{self.tasks} subtasks", _range_text("width", self.widths)]
        if any(self.samples):
            parts.append(_range_text("D", self.samples))
        parts += [_range_text("α", self.alphas), f"{self.steps:,} steps"]
        if self.seeds != [0]:
            parts.append(_range_text("seed", self.seeds))
        return ", ".join(parts)


def _range_text(name: str, values: Sequence[float]) -> str:
    texts = [f"{value:g}" for value in values]
    if len(texts) <= 3:
        return f"{name} {', '.join(texts)}"
    return f"{name} {texts[0]} to {texts[-1]} ({len(texts)})"


def _complete(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    """Sort the lists, so that two requests for the same cells have one key."""
    params = request | {name: sorted(set(request[name])) for name in AXES}
    if any(params["samples"]) and params["patience"]:
        return params
    fields = SparseParityParameters.model_fields  # without patience its details are not used
    unused = {name: fields[name].default for name in ("patience_after", "patience_every")}
    return params | {"patience": 0} | unused


SPARSE_PARITY = ExperimentKind(
    name="sparse_parity",
    title="Sparse parity",
    summary="Networks on parities of unequal frequency: each is a quantum, learned in its turn.",
    page="/parity",
    schema=SparseParityParameters,
    params=SparseParityParameters,
    presets=PRESETS,
    complete=_complete,
)
