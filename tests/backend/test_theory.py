"""The theory simulator: sums and exponents against closed forms, and refused parameters."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InvalidInputError
from backend.scaling.theory import BOUNDS, FIT_LAST, measured_exponents, theory_laws
from backend.scaling.theory_views import TheoryLaw, TheoryLaws, TheoryRequest
from compute.quanta_theory import finite_slopes, fitted_slope

REQUESTS = st.builds(
    TheoryRequest,
    alpha=st.floats(0.05, 2),
    capacity=st.floats(1, 1e9),
    tau=st.floats(1, 1e9),
    first_steps=st.floats(1, 1e9),
    a=st.floats(0, 9.9),
    b=st.floats(10, 20),
    m=st.integers(10, 3_000),
    n=st.integers(1, 100_000),
)


def by_axis(view: TheoryLaws) -> dict[str, TheoryLaw]:
    return {law.axis: law for law in view.laws}


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_every_law_falls_from_b_to_a_one_quantum_at_a_time(params: TheoryRequest) -> None:
    view = theory_laws(params)
    assert view.n == min(params.n, params.m)
    assert [law.axis for law in view.laws] == ["N", "D", "S"]
    assert sum(view.frequencies) <= 1 + 1e-9
    for law in view.laws:
        lengths = {len(law.x), len(law.learned), len(law.loss_nats), len(law.limit_nats)}
        assert lengths == {len(view.ranks) + 1}
        assert np.isfinite([law.x, law.learned, law.loss_nats, law.limit_nats]).all()
        assert (np.diff(law.x) > 0).all()
        assert law.learned == (0, *view.ranks)
        assert law.loss_nats[0] == pytest.approx(params.b)
        assert law.loss_nats[-1] == pytest.approx(params.a, abs=1e-9)
        assert (np.diff(law.loss_nats) <= 0).all()
        at_n = law.learned.index(view.n)
        assert law.x[at_n] == law.x_at_n
        assert law.loss_nats[at_n] == view.loss_at_n_nats
        assert type(law.x_at_n) is type(law.exponent) is type(law.loss_nats[0]) is float


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_a_quantum_is_learned_at_its_capacity_samples_and_steps(params: TheoryRequest) -> None:
    view = theory_laws(params)
    laws = by_axis(view)
    for rank, p, n, d, s in zip(
        view.ranks,
        view.frequencies,
        *(laws[axis].x[1:] for axis in "NDS"),
        strict=True,
    ):
        assert n == pytest.approx(rank * params.capacity)
        assert d * p == pytest.approx(params.tau)
        assert s == pytest.approx(params.first_steps * rank ** (1 + params.alpha))


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 2.0])
def test_exponents_match_closed_forms(alpha: float) -> None:
    laws = by_axis(theory_laws(TheoryRequest(alpha=alpha)))
    assert laws["N"].exponent == pytest.approx(alpha)
    assert laws["D"].exponent == laws["S"].exponent == pytest.approx(alpha / (1 + alpha))
    for law in laws.values():
        slope = fitted_slope(np.array(law.x), np.array(law.limit_nats))
        assert slope == pytest.approx(-law.exponent)


@pytest.mark.parametrize(
    ("m", "over_parameters", "over_data"),
    [(30, 1.00, 0.71), (50, 0.74, 0.53), (100, 0.59, 0.42), (500, 0.46, 0.33)],
)
def test_finite_slopes_are_the_published_ones(
    m: int, over_parameters: float, over_data: float
) -> None:
    view = theory_laws(TheoryRequest(m=m))
    laws = by_axis(view)
    assert laws["N"].finite_exponent == pytest.approx(over_parameters, abs=0.006)
    assert laws["D"].finite_exponent == pytest.approx(over_data, abs=0.006)
    (same,) = [exponents for exponents in view.finite if exponents.m == m]
    assert same.over_parameters == laws["N"].finite_exponent
    assert same.over_data == laws["S"].finite_exponent


def test_finite_slopes_are_of_the_drawn_points() -> None:
    """The first forty quanta are drawn one by one: their slope can be fitted from the answer."""
    for law in theory_laws(TheoryRequest(m=200, a=1.5)).laws:
        part = slice(law.learned.index(2), law.learned.index(FIT_LAST) + 1)
        x, loss = np.array(law.x[part]), np.array(law.loss_nats[part])
        assert fitted_slope(x, loss - 1.5) == pytest.approx(-law.finite_exponent)


def test_few_quanta_shorten_the_fit() -> None:
    view = theory_laws(TheoryRequest(m=10))
    assert (view.fit_first, view.fit_last) == (2, 9)
    expected = -finite_slopes(10, 0.4, 2, 9).over_number
    assert by_axis(view)["N"].finite_exponent == pytest.approx(expected)


def test_with_many_quanta_the_sum_meets_its_limit() -> None:
    law = by_axis(theory_laws(TheoryRequest(alpha=1.0, m=100_000)))["N"]
    at = law.learned.index(min(law.learned, key=lambda n: abs(n - 300)))
    assert law.loss_nats[at] == pytest.approx(law.limit_nats[at], rel=0.01)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 10**400])
def test_parameters_out_of_bounds_are_named_with_their_bounds(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=name) as error:
        theory_laws(replace(TheoryRequest(), **{name: value}))
    assert error.value.parameter == name
    assert len(str(error.value)) < 200
    assert f"{BOUNDS[name].minimum:g}" in error.value.remedy


def test_learning_must_lower_the_loss() -> None:
    with pytest.raises(InvalidInputError, match=r"a = 5 is not less than b = 5") as error:
        theory_laws(TheoryRequest(a=5.0))
    assert error.value.parameter == "a"


@pytest.mark.parametrize("end", ["minimum", "maximum"])
@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "a"])
def test_bounds_are_inclusive(name: str, end: str) -> None:
    value = getattr(BOUNDS[name], end)
    whole = type(getattr(TheoryRequest(), name))
    theory_laws(replace(TheoryRequest(), **{name: whole(value)}))


def test_lines_among_measured_exponents_match_two_theories() -> None:
    exponents = measured_exponents()
    quanta, manifold = exponents.lines
    assert len(exponents.pairs) == 16
    assert len({pair.source for pair in exponents.pairs}) == 6
    for alpha_n, alpha_d in zip(quanta.alpha_n, quanta.alpha_d, strict=True):
        assert alpha_d == pytest.approx(alpha_n / (1 + alpha_n))
    assert manifold.alpha_n == manifold.alpha_d
