"""The theory simulator: laws of finitely many quanta beside their limits, and measured exponents.

Nothing here is read from the store: an answer is a function of the numbers asked for, and kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.scaling.theory_views import (
    ExponentLine,
    ExponentPair,
    Exponents,
    FiniteExponents,
    TheoryAxis,
    TheoryLaw,
    TheoryLaws,
    TheoryRequest,
)
from compute.quanta_theory import (
    PUBLISHED_PAIRS,
    Theory,
    finite_slopes,
    loss_after,
    zipf_frequencies,
)

Numbers = NDArray[np.float64]

# First and last number of learned quanta of the slopes in arXiv:2303.13506.
FIT_FIRST, FIT_LAST = 2, 20
SUMS = (30, 50, 100, 200, 500, 1_000, 3_000, 10_000, 30_000, 100_000)
N_EACH, N_SPREAD = 40, 160


@dataclass(frozen=True)
class Bounds:
    """Least and largest value of one number of the simulator, and what it is."""

    least: float
    most: float
    meaning: str


BOUNDS: Mapping[str, Bounds] = {
    "alpha": Bounds(0.05, 2.0, "Quanta are used with frequencies p_k ∝ k^−(α+1)"),
    "capacity": Bounds(1, 1e9, "C: parameters that a quantum takes"),
    "threshold": Bounds(1, 1e9, "τ: samples of a quantum that it takes to learn it"),
    "first_steps": Bounds(1, 1e9, "T: steps that the first quantum takes"),
    "a": Bounds(0, 20, "Loss of a learned quantum, nats; less than b"),
    "b": Bounds(0.01, 20, "Loss of a quantum that is not learned, nats; more than a"),
    "m": Bounds(10, 100_000, "Number of quanta in the finite sum"),
    "n": Bounds(1, 100_000, "How many quanta are learned where it is marked; at most m count"),
}


def _check(request: TheoryRequest) -> None:
    for name, bounds in BOUNDS.items():
        value = getattr(request, name)
        if not bounds.least <= value <= bounds.most:  # refuses NaN as well
            raise InvalidInputError(
                f"{name} = {str(value)[:24]} is out of bounds",
                f"Choose {name} from {bounds.least:g} to {bounds.most:,.10g}",
                name,
            )
    if not request.a < request.b:
        raise InvalidInputError(
            f"a = {request.a:g} is not less than b = {request.b:g}: learning lowers no loss",
            "Choose an a below b",
            "a",
        )


def theory_laws(request: TheoryRequest) -> TheoryLaws:
    """Return the laws over parameters, data and steps of m quanta, with their limits.

    Raises:
        InvalidInputError: a number out of its bounds, or a is not less than b.
    """
    _check(request)
    return _laws(replace(request, n=min(request.n, request.m)))


@lru_cache(maxsize=128)
def _laws(request: TheoryRequest) -> TheoryLaws:
    p = zipf_frequencies(request.m, request.alpha)
    ranks = _ranks(request.m, request.n)
    loss = loss_after(np.concatenate([[0], ranks]), p, request.a, request.b)
    last = min(FIT_LAST, request.m - 1)
    slopes = finite_slopes(request.m, request.alpha, FIT_FIRST, last)
    over_number, over_frequency = -slopes.over_number, -slopes.over_frequency
    at_n = int(np.flatnonzero(ranks == request.n)[0])
    wanted: tuple[tuple[TheoryAxis, Numbers, float], ...] = (
        ("N", request.capacity * ranks.astype(np.float64), over_number),
        ("D", request.threshold / p[ranks - 1], over_frequency),
        ("S", request.first_steps * p[0] / p[ranks - 1], over_frequency),
    )
    return TheoryLaws(
        asked=request,
        n=request.n,
        loss_at_n_nats=float(loss[at_n + 1]),
        laws=tuple(_law(request, axis, ranks, x, loss, finite) for axis, x, finite in wanted),
        ranks=tuple(ranks.tolist()),
        frequencies=tuple(p[ranks - 1].tolist()),
        fit_first=FIT_FIRST,
        fit_last=last,
        finite=_finite(request.alpha),
    )


def _law(
    request: TheoryRequest,
    axis: TheoryAxis,
    ranks: NDArray[np.int64],
    x: Numbers,
    loss: Numbers,
    finite_exponent: float,
) -> TheoryLaw:
    """Return one law; `x` is where each of the `ranks` is learned, `loss` begins before them."""
    theory = Theory(
        request.alpha,
        request.capacity,
        request.threshold,
        request.first_steps,
        request.a,
        request.b,
    )
    limits = {"N": theory.over_parameters, "D": theory.over_data, "S": theory.over_steps}
    whole = np.concatenate([[x[0] / 2], x])
    limit = limits[axis](whole)
    return TheoryLaw(
        axis=axis,
        x=tuple(whole.tolist()),
        learned=(0, *ranks.tolist()),
        loss_nats=tuple(loss.tolist()),
        limit_nats=tuple(limit.limit.tolist()),
        exponent=limit.exponent,
        finite_exponent=finite_exponent,
        x_at_n=float(x[np.searchsorted(ranks, request.n)]),
    )


def _ranks(m: int, n: int) -> NDArray[np.int64]:
    """Return the quanta that are drawn: each of the first, then evenly in the logarithm."""
    each = np.arange(1, min(m, N_EACH) + 1)
    spread = np.geomspace(1, m, N_SPREAD).round().astype(np.int64)
    return np.unique(np.concatenate([each, spread, [n, m]]))


@lru_cache(maxsize=128)
def _finite(alpha: float) -> tuple[FiniteExponents, ...]:
    found = []
    for m in SUMS:
        slopes = finite_slopes(m, alpha, FIT_FIRST, FIT_LAST)
        found.append(FiniteExponents(m, -slopes.over_number, -slopes.over_frequency))
    return tuple(found)


@cache
def exponents() -> Exponents:
    """Return measured pairs of exponents and the lines that two theories draw among them."""
    alpha_n = np.geomspace(0.01, 2, 80)
    lines = (
        ("quanta", "α_D = α_N/(1 + α_N)", "arXiv:2303.13506", alpha_n / (1 + alpha_n)),
        ("data manifold", "α_D = α_N", "arXiv:2004.10802", alpha_n),
    )
    return Exponents(
        pairs=tuple(
            ExponentPair(pair.source, pair.alpha_n, pair.alpha_d) for pair in PUBLISHED_PAIRS
        ),
        lines=tuple(
            ExponentLine(name, formula, source, tuple(alpha_n.tolist()), tuple(alpha_d.tolist()))
            for name, formula, source, alpha_d in lines
        ),
    )
