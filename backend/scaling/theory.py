"""The theory simulator: laws of finite numbers of quanta, their limits, and measured exponents.

Results depend on the request alone, not on the store, and are cached.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.scaling import theory_views as views
from compute.quanta_theory import (
    PUBLISHED_PAIRS,
    Theory,
    finite_slopes,
    loss_after,
    zipf_frequencies,
)

Numbers = NDArray[np.float64]

# Range of learned quanta in the fits of arXiv:2303.13506.
FIT_FIRST, FIT_LAST = 2, 20
SUMS = (30, 50, 100, 200, 500, 1_000, 3_000, 10_000, 30_000, 100_000)
# Points of a curve: one for each of the first quanta, then evenly in the logarithm.
N_FIRST, N_LOG = 40, 160


@dataclass(frozen=True)
class Bounds:
    """Bounds and description of one parameter of the simulator."""

    minimum: float
    maximum: float
    description: str


BOUNDS: Mapping[str, Bounds] = {
    "alpha": Bounds(0.05, 2.0, "Exponent of the frequencies of quanta, p_k ∝ k^−(α+1)"),
    "capacity": Bounds(1, 1e9, "C: parameters to learn one quantum"),
    "tau": Bounds(1, 1e9, "τ: samples of a quantum to learn it"),
    "first_steps": Bounds(1, 1e9, "T: steps to learn the first quantum"),
    "a": Bounds(0, 20, "Loss of a learned quantum, nats; less than b"),
    "b": Bounds(0.01, 20, "Loss of a quantum that is not learned, nats; more than a"),
    "m": Bounds(10, 100_000, "Number of quanta in the finite sum"),
    "n": Bounds(1, 100_000, "Learned quanta at the mark; more than m counts as m"),
}


def _check(request: views.TheoryRequest) -> None:
    for name, bounds in BOUNDS.items():
        value = getattr(request, name)
        if not bounds.minimum <= value <= bounds.maximum:  # refuses NaN as well
            raise InvalidInputError(
                f"{name} = {str(value)[:24]} is out of bounds",
                f"Choose {name} from {bounds.minimum:g} to {bounds.maximum:,.10g}",
                name,
            )
    if not request.a < request.b:
        raise InvalidInputError(
            f"a = {request.a:g} is not less than b = {request.b:g}: learning lowers no loss",
            "Choose an a below b",
            "a",
        )


def theory_laws(request: views.TheoryRequest) -> views.TheoryLaws:
    """Return the laws of m quanta over parameters, data and steps, with their limits.

    Raises:
        InvalidInputError: a parameter is out of bounds, or a is not less than b.
    """
    _check(request)
    return _laws(replace(request, n=min(request.n, request.m)))


@lru_cache(maxsize=128)
def _laws(request: views.TheoryRequest) -> views.TheoryLaws:
    p = zipf_frequencies(request.m, request.alpha)
    ranks = _ranks(request.m, request.n)
    loss = loss_after(np.concatenate([[0], ranks]), p, request.a, request.b)
    last = min(FIT_LAST, request.m - 1)
    slopes = finite_slopes(request.m, request.alpha, FIT_FIRST, last)
    over_number, over_frequency = -slopes.over_number, -slopes.over_frequency
    index_of_n = int(np.flatnonzero(ranks == request.n)[0])
    axes: tuple[tuple[views.TheoryAxis, Numbers, float], ...] = (
        ("N", request.capacity * ranks.astype(np.float64), over_number),
        ("D", request.tau / p[ranks - 1], over_frequency),
        ("S", request.first_steps * p[0] / p[ranks - 1], over_frequency),
    )
    return views.TheoryLaws(
        request=request,
        n=request.n,
        loss_at_n_nats=float(loss[index_of_n + 1]),
        laws=tuple(_law(request, axis, ranks, x, loss, finite) for axis, x, finite in axes),
        ranks=tuple(ranks.tolist()),
        frequencies=tuple(p[ranks - 1].tolist()),
        fit_first=FIT_FIRST,
        fit_last=last,
        finite=_finite_exponents(request.alpha),
    )


def _law(
    request: views.TheoryRequest,
    axis: views.TheoryAxis,
    ranks: NDArray[np.int64],
    x: Numbers,
    loss: Numbers,
    finite_exponent: float,
) -> views.TheoryLaw:
    """Return one law; `x` is where each of the `ranks` is learned, `loss[0]` the loss before."""
    theory = Theory(
        request.alpha, request.capacity, request.tau, request.first_steps, request.a, request.b
    )
    limits = {"N": theory.parameter_law, "D": theory.data_law, "S": theory.step_law}
    points = np.concatenate([[x[0] / 2], x])
    limit = limits[axis](points)
    return views.TheoryLaw(
        axis=axis,
        x=tuple(points.tolist()),
        learned=(0, *ranks.tolist()),
        loss_nats=tuple(loss.tolist()),
        limit_nats=tuple(limit.limit.tolist()),
        exponent=limit.exponent,
        finite_exponent=finite_exponent,
        x_at_n=float(x[np.searchsorted(ranks, request.n)]),
    )


def _ranks(m: int, n: int) -> NDArray[np.int64]:
    """Return the quanta of the points of a curve."""
    first = np.arange(1, min(m, N_FIRST) + 1)
    spaced = np.geomspace(1, m, N_LOG).round().astype(np.int64)
    return np.unique(np.concatenate([first, spaced, [n, m]]))


@lru_cache(maxsize=128)
def _finite_exponents(alpha: float) -> tuple[views.FiniteExponents, ...]:
    exponents_by_m = []
    for m in SUMS:
        slopes = finite_slopes(m, alpha, FIT_FIRST, FIT_LAST)
        exponents_by_m.append(views.FiniteExponents(m, -slopes.over_number, -slopes.over_frequency))
    return tuple(exponents_by_m)


@cache
def measured_exponents() -> views.Exponents:
    """Return measured pairs of exponents and the relations of two theories."""
    alpha_n = np.geomspace(0.01, 2, 80)
    lines = (
        ("quanta", "α_D = α_N/(1 + α_N)", "arXiv:2303.13506", alpha_n / (1 + alpha_n)),
        ("data manifold", "α_D = α_N", "arXiv:2004.10802", alpha_n),
    )
    return views.Exponents(
        pairs=tuple(
            views.ExponentPair(pair.source, pair.alpha_n, pair.alpha_d) for pair in PUBLISHED_PAIRS
        ),
        lines=tuple(
            views.ExponentLine(
                name, formula, source, tuple(alpha_n.tolist()), tuple(alpha_d.tolist())
            )
            for name, formula, source, alpha_d in lines
        ),
    )
