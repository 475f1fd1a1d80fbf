"""Results of the theory simulator: frozen dataclasses, losses in nats.

Quanta k = 1, 2, … have frequencies p_k ∝ k^−(α+1); the loss of a sample falls from b to a once its
quantum is learned. Source: arXiv:2303.13506, section 2.
"""

from dataclasses import dataclass
from typing import Literal

TheoryAxis = Literal["N", "D", "S"]


@dataclass(frozen=True)
class TheoryRequest:
    """Parameters of the quantization model.

    Attributes:
        alpha: exponent of the frequencies, p_k ∝ k^-(alpha + 1).
        capacity: C, parameters to learn one quantum.
        tau: τ, samples of a quantum to learn it.
        first_steps: T, steps to learn the first quantum.
        a: loss of a learned quantum, nats.
        b: loss of a quantum that is not learned, nats.
        m: quanta in the finite sum.
        n: learned quanta at the mark; more than m counts as m.
    """

    alpha: float = 0.4
    capacity: float = 1e4
    tau: float = 100.0
    first_steps: float = 100.0
    a: float = 0.0
    b: float = 5.0
    m: int = 500
    n: int = 10


@dataclass(frozen=True)
class TheoryLaw:
    """A scaling law over parameters N, samples D or steps S.

    Attributes:
        axis: parameters, samples or steps.
        x: points at which some of the quanta are learned; at the first point none is.
        learned: number of learned quanta at each point.
        loss_nats: exact sum over the m quanta.
        limit_nats: power law of infinitely many quanta.
        exponent: exponent of the limit.
        finite_exponent: negative slope of the exact sum, L − a.
        x_at_n: point at which the n-th quantum is learned.
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
    """Negative slopes of sums over m quanta: over N, and over D or S."""

    m: int
    over_parameters: float
    over_data: float


@dataclass(frozen=True)
class TheoryLaws:
    """Three laws of the same quanta.

    `loss_at_n_nats` is the loss with the `n` most frequent quanta learned. Finite exponents are
    fitted between `fit_first` and `fit_last` learned quanta; `finite` has those of other sums.
    """

    request: TheoryRequest
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
    """The relation between alpha_n and alpha_d in one theory."""

    name: str
    formula: str
    source: str
    alpha_n: tuple[float, ...]
    alpha_d: tuple[float, ...]


@dataclass(frozen=True)
class Exponents:
    """Measured pairs of exponents, from arXiv:2303.13506, and the relations of two theories."""

    pairs: tuple[ExponentPair, ...]
    lines: tuple[ExponentLine, ...]
