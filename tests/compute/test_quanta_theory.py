"""Exact sums over quanta, their limits, and the published slopes of finite sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.quanta_theory import (
    PUBLISHED_PAIRS,
    Theory,
    finite_slopes,
    fitted_slope,
    loss_after,
    zipf_frequencies,
)


@pytest.mark.parametrize(
    ("m", "over_number", "over_frequency"),
    [(30, -1.00, -0.71), (50, -0.74, -0.53), (100, -0.59, -0.42), (500, -0.46, -0.33)],
)
def test_slopes_of_finite_sums_equal_the_published_ones(
    m: int, over_number: float, over_frequency: float
) -> None:
    slopes = finite_slopes(m, 0.4)
    assert slopes.over_number == pytest.approx(over_number, abs=0.006)
    assert slopes.over_frequency == pytest.approx(over_frequency, abs=0.006)


def test_slopes_of_many_quanta_approach_their_limits() -> None:
    slopes = finite_slopes(1_000_000, 0.8, first=200, last=2_000)
    assert slopes.over_number == pytest.approx(-0.8, abs=0.01)
    assert slopes.over_frequency == pytest.approx(-0.8 / 1.8, abs=0.01)


@given(st.integers(1, 200), st.floats(0.05, 3), st.floats(0, 2), st.floats(2.1, 9))
def test_loss_falls_from_b_to_a(m: int, alpha: float, a: float, b: float) -> None:
    p = zipf_frequencies(m, alpha)
    assert p.sum() == pytest.approx(1)
    loss = loss_after(np.arange(m + 1), p, a, b)
    assert loss[0] == pytest.approx(b)
    assert loss[-1] == pytest.approx(a)
    assert (np.diff(loss) < 0).all()
    assert -np.diff(loss) == pytest.approx((b - a) * p)


def test_exact_losses_are_sums_over_quanta() -> None:
    theory = Theory(alpha=1.0, capacity=10.0, a=0.0, b=1.0)
    law = theory.parameter_law(np.array([5.0, 10.0, 35.0, 1000.0]))
    assert law.learned.tolist() == [0, 1, 3, 100]
    whole = np.pi**2 / 6
    tail = [whole - (1 / np.arange(1, n + 1) ** 2.0).sum() for n in law.learned]
    assert law.loss == pytest.approx(np.array(tail) / whole)


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0])
def test_each_law_has_its_exponent_in_the_limit(alpha: float) -> None:
    theory = Theory(alpha=alpha, a=0.0, b=1.0)
    x = np.geomspace(1e12, 1e16, 60)
    for law, exponent in (
        (theory.parameter_law(x), alpha),
        (theory.data_law(x), alpha / (1 + alpha)),
        (theory.step_law(x), alpha / (1 + alpha)),
    ):
        assert law.exponent == pytest.approx(exponent)
        assert fitted_slope(x, law.limit) == pytest.approx(-exponent, rel=1e-6)
        assert fitted_slope(x, law.loss) == pytest.approx(-exponent, rel=0.01)
        assert law.loss[-1] == pytest.approx(law.limit[-1], rel=0.01)


def test_a_quantum_is_learned_after_enough_samples_or_steps() -> None:
    theory = Theory(alpha=0.5, tau=50.0, first_steps=20.0)
    whole = (1 / np.arange(1, 2_000_000) ** 1.5).sum() + 2 / np.sqrt(2_000_000)
    for n in (1, 7, 40):
        p_n = n**-1.5 / whole
        enough = 50 / p_n
        learned = theory.data_law(np.array([enough * 0.999, enough * 1.001])).learned
        assert learned.tolist() == [n - 1, n]
        steps = 20 * n**1.5
        assert theory.step_law(np.array([steps * 0.999, steps])).learned.tolist() == [n - 1, n]


def test_all_published_pairs_are_listed() -> None:
    assert len(PUBLISHED_PAIRS) == 16
    assert {pair.source for pair in PUBLISHED_PAIRS} == {
        "Rosenfeld et al.", "Kaplan et al.", "Hoffmann et al.", "Ardalani et al.",
        "Gordon et al.", "Droppo & Elibol",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "alpha = 0"),
        ({"a": 2.0, "b": 1.0}, "a = 2, b = 1"),
        ({"capacity": 0.0}, "capacity = 0"),
        ({"tau": float("inf")}, "tau = inf"),
    ],
)
def test_settings_out_of_range_are_rejected(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Theory(**changes)


def test_points_out_of_range_are_rejected() -> None:
    with pytest.raises(ValueError, match="x: want"):
        Theory().parameter_law(np.array([0.0]))
    with pytest.raises(ValueError, match="m = 0"):
        zipf_frequencies(0, 1.0)
    with pytest.raises(ValueError, match="first 2, last 30"):
        finite_slopes(30, 0.4, last=30)
    with pytest.raises(ValueError, match="at least two points"):
        fitted_slope(np.array([1.0]), np.array([1.0]))
