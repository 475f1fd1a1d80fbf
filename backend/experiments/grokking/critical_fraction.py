"""The critical training fraction: how often a random training set forces numbers onto a line.

Source: arXiv:2205.10343, section 3.3. A cell is one p; no network is trained.
"""

from typing import Annotated

from pydantic import Field

from backend.experiments.kind import ExperimentKind, ExperimentParameters, Place, Preset
from backend.schemas.parameters import MAX_INTEGER

MAX_P = 24
# A matrix of p columns is decomposed about six times a draw, one row a parallelogram.
_DECOMPOSITIONS = 6
Sizes = Annotated[
    list[Annotated[int, Field(ge=3, le=MAX_P)]], Field(min_length=1, max_length=MAX_P)
]


class CriticalFractionParameters(ExperimentParameters):
    """Random training sets of additions, of every size."""

    p: Sizes = Field(title="p", description="Numbers to add", examples=[[6, 10, 12]])
    draws: int = Field(
        10_000, ge=10, le=100_000, title="Draws", description="Random orders of all pairs"
    )
    seed: int = Field(0, ge=0, le=MAX_INTEGER, title="Seed")

    def places(self) -> list[Place]:
        """Return one p for every cell."""
        if sorted(set(self.p)) != self.p:
            raise ValueError("p must rise, each number once")
        return [{"p": p} for p in self.p]

    def flop(self) -> float:
        """Return an upper bound on the floating-point operations of all cells."""
        per_decomposition = sum(4.0 * n_parallelograms(p) * p * p for p in self.p)
        return _DECOMPOSITIONS * float(self.draws) * per_decomposition

    def label(self) -> str:
        """Return the numbers and the draws."""
        return f"p {', '.join(map(str, self.p))}, {self.draws:,} draws"


def n_parallelograms(p: int) -> int:
    """Return |P0|: the number of pairs of pairs with the same sum."""
    terms = [min(s, p - 1) - max(0, s - p + 1) for s in range(2 * p - 1)]
    counts = [n // 2 + 1 for n in terms]
    return sum(n * (n - 1) // 2 for n in counts)


CRITICAL_FRACTION = ExperimentKind(
    name="critical_fraction",
    title="Critical fraction",
    summary="How often random training sets of every size force the numbers onto a line.",
    page="/grokking",
    schema=CriticalFractionParameters,
    params=CriticalFractionParameters,
    presets=(
        Preset(
            "critical",
            "Critical training fraction",
            "reduced",
            "One half of all random training sets force a line from a fraction of 0.41 at p = 10",
            {"p": [6, 8, 10, 12]},
        ),
    ),
    cells_per_unit=1,
    page_query="fraction",
)
