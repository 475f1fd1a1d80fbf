"""The quantization model for one choice of its numbers, as frozen dataclasses; losses in nats.

Quanta k = 1, 2, … are used with frequencies p_k ∝ k^−(α+1); a sample's loss falls from b to a once
its quantum is learned. Source: arXiv:2303.13506, section 2.
"""

from dataclasses import dataclass
from typing import Literal

TheoryAxis = Literal["N", "D", "S"]


@dataclass(frozen=True)
class TheoryRequest:
    """What the simulator is set to.

    Attributes:
        alpha: p_k goes as k^-(alpha + 1).
        capacity: C, parameters that a quantum takes.
        threshold: tau, samples of a quantum that it takes to learn it.
        first_steps: T, steps that the first quantum takes.
        a: loss of a learned quantum, nats.
        b: loss of one that is not, nats.
        m: quanta in the finite sum.
        n: how many of them are learned where it is marked; more than m counts as all.
    """

    alpha: float = 0.4
    capacity: float = 1e4
    threshold: float = 100.0
    first_steps: float = 100.0
    a: float = 0.0
    b: float = 5.0
    m: int = 500
    n: int = 10


@dataclass(frozen=True)
class TheoryLaw:
    """A scaling law over parameters N, samples D or steps S.

    Attributes:
        axis: which.
        x: where a quantum is learned (not every one of many), after a first point with none.
        learned: quanta learned there.
        loss_nats: exact sum over the m quanta.
        limit_nats: the power law of infinitely many.
        exponent: of the limit.
        finite_exponent: slope of the exact sum, L − a, with its sign turned.
        x_at_n: where the n-th quantum is learned.
    """

    axis: TheoryAxis
    x: tuple[float, ...]
    learned: tuple[int, ...]
    loss_nats: tuple[float, ...]
    limit_nats: tuple[float, ...]
    exponent: float
    finite_exponent: float
    x_at_n: float


@dataclass(frozen=True)
class FiniteExponents:
    """Slopes of sums over m quanta with their sign turned: over N, and over D or S."""

    m: int
    over_parameters: float
    over_data: float


@dataclass(frozen=True)
class TheoryLaws:
    """Three laws drawn from the same quanta.

    `loss_at_n_nats` is the loss with the `n` most frequent quanta learned. Finite exponents are
    fitted between `fit_first` and `fit_last` learned quanta; `finite` has them for other sums.
    """

    asked: TheoryRequest
    n: int
    loss_at_n_nats: float
    laws: tuple[TheoryLaw, ...]
    ranks: tuple[int, ...]
    frequencies: tuple[float, ...]
    fit_first: int
    fit_last: int
    finite: tuple[FiniteExponents, ...]


@dataclass(frozen=True)
class ExponentPair:
    """Exponents that one study measured for parameters and for data."""

    source: str
    alpha_n: float
    alpha_d: float


@dataclass(frozen=True)
class ExponentLine:
    """What one theory says of alpha_d for each alpha_n."""

    name: str
    formula: str
    source: str
    alpha_n: tuple[float, ...]
    alpha_d: tuple[float, ...]


@dataclass(frozen=True)
class Exponents:
    """Measured pairs of exponents, as collected in arXiv:2303.13506, and two theories of them."""

    pairs: tuple[ExponentPair, ...]
    lines: tuple[ExponentLine, ...]
