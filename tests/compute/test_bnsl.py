"""Broken laws against the formula in plain arithmetic, and fits to generated curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compute.bnsl import (
    MAX_BREAKS,
    Break,
    BrokenLaw,
    bootstrap_broken_law,
    fit_broken_law,
    named_parameters,
    rmsle,
)
from compute.power_law import fit_power_law

X = np.geomspace(1, 1e6, 40)
ONE = BrokenLaw(0.5, float(np.log(8)), 0.05, (Break(0.4, 300.0, 0.3),))
TWO = BrokenLaw(0.2, float(np.log(8)), 0.05, (Break(0.4, 100.0, 0.2), Break(-0.3, 1e4, 0.2)))
LAWS = {0: BrokenLaw(0.5, float(np.log(8)), 0.2), 1: ONE, 2: TWO}


def plain(law: BrokenLaw, x: float) -> float:
    """Evaluate the formula of the paper."""
    y = float(np.exp(law.ln_b)) * x**-law.c0
    for bend in law.breaks:
        y *= (1 + (x / bend.d) ** (1 / bend.f)) ** (-bend.c * bend.f)
    return law.a + y


def noisy(law: BrokenLaw, seed: int, noise: float = 0.003) -> NDArray[np.float64]:
    return law.y(X) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(X)))


@settings(deadline=None)
@given(
    st.floats(0, 5),
    st.floats(0.1, 100),
    st.floats(-0.5, 1),
    st.lists(st.builds(Break, st.floats(-1, 1), st.floats(1, 1e6), st.floats(0.05, 2)), max_size=3),
)
def test_a_law_is_the_formula_of_the_paper(
    a: float, b: float, c0: float, breaks: list[Break]
) -> None:
    law = BrokenLaw(a, float(np.log(b)), c0, tuple(breaks))
    x = np.geomspace(1, 1e6, 7)
    np.testing.assert_allclose(law.y(x), [plain(law, float(value)) for value in x], rtol=1e-9)


def test_powers_beyond_the_range_of_a_float_do_not_overflow() -> None:
    law = BrokenLaw(0.0, 900.0, 1.0, (Break(2.0, 1e100, 1e-3),))  # b = e^900, (x/d)^1000
    with np.errstate(all="raise", under="ignore"):
        ln_y = law.ln_y(np.array([1e-300, 1.0, 1e100, 1e200, 1e300]))
    assert np.isfinite(ln_y).all()
    far = 900 - np.log(1e200) - 2 * np.log(1e100)  # beyond the break, exponent c0 + c1
    assert ln_y[3] == pytest.approx(far, rel=1e-9)


@pytest.mark.parametrize("n_breaks", LAWS)
def test_a_curve_without_noise_recovers_parameters_and_extrapolates(n_breaks: int) -> None:
    law = LAWS[n_breaks]
    fit = fit_broken_law(X[:32], law.y(X[:32]))
    assert len(fit.law.breaks) == n_breaks
    assert named_parameters(fit.law) == pytest.approx(named_parameters(law), rel=1e-4)
    assert rmsle(fit.law.ln_y(X[32:]), law.ln_y(X[32:])) < 1e-6
    assert fit.r_squared == pytest.approx(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_noisy_curve_with_a_break_extrapolates_better_than_a_power_law(seed: int) -> None:
    y = noisy(ONE, seed)
    fit = fit_broken_law(X[:32], y[:32])
    assert len(fit.law.breaks) >= 1
    broken = rmsle(fit.law.ln_y(X[32:]), ONE.ln_y(X[32:]))
    straight = fit_broken_law(X[:32], y[:32], 0)
    assert broken < 0.1 < rmsle(straight.law.ln_y(X[32:]), ONE.ln_y(X[32:]))


def test_a_noisy_power_law_has_no_break() -> None:
    n_breaks = [len(fit_broken_law(X, noisy(LAWS[0], seed)).law.breaks) for seed in range(3)]
    assert n_breaks == [0, 0, 0]


def test_no_break_is_the_power_law_with_a_free_floor() -> None:
    y = noisy(LAWS[0], 7)
    broken = fit_broken_law(X, y, 0).law
    law = fit_power_law(X, y, floor="free", n_bootstrap=0)
    assert broken.a == pytest.approx(law.floor, rel=1e-4)
    assert np.exp(broken.ln_b) == pytest.approx(law.amplitude, rel=1e-4)
    assert broken.c0 == pytest.approx(law.exponent, rel=1e-4)


def test_more_breaks_never_fit_worse() -> None:
    y = noisy(TWO, 3, noise=0.02)
    errors = [fit_broken_law(X, y, n).train_rmsle for n in range(MAX_BREAKS + 1)]
    assert errors == sorted(errors, reverse=True)


def test_the_same_points_in_any_order_give_the_same_law_and_band() -> None:
    y = noisy(ONE, 2)[:20]
    order = np.random.default_rng(0).permutation(20)
    first, other = fit_broken_law(X[:20], y), fit_broken_law(X[:20][order], y[order])
    assert first == other
    bands = [
        bootstrap_broken_law(X[:20], y, first.law, X[20:24], n_bootstrap=5, seed=seed)
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(bands[0].low, bands[1].low)
    assert bands[0].parameters == bands[1].parameters != bands[2].parameters


def test_the_interval_covers_the_truth_and_grows_outwards() -> None:
    law = LAWS[0]
    y = noisy(law, 5, noise=0.01)
    fit = fit_broken_law(X[:20], y[:20], 0)
    band = bootstrap_broken_law(X[:20], y[:20], fit.law, X, n_bootstrap=60)
    inside = (band.low <= law.y(X)) & (law.y(X) <= band.high)
    assert inside.mean() > 0.7
    widths = np.log(band.high / band.low)
    assert 0.004 < widths[10] < 0.03  # noise of 1 % at 20 points: about 4 standard errors
    assert widths[-1] > 3 * widths[10]
    assert band.parameters["c0"][0] <= 0.2 <= band.parameters["c0"][1]


def test_the_interval_is_that_of_refits_to_residuals_scaled_by_the_degrees_of_freedom() -> None:
    x, y = X[:12], noisy(LAWS[0], 5, noise=0.01)[:12]
    law = fit_broken_law(x, y, 0).law
    band = bootstrap_broken_law(x, y, law, x, n_bootstrap=5, seed=1)
    residuals = (np.log(y) - law.ln_y(x)) * np.sqrt(12 / (12 - 3))
    generator = np.random.default_rng(1)
    resamples = [np.exp(law.ln_y(x) + generator.choice(residuals, 12)) for _ in range(5)]
    refits = [fit_broken_law(x, resample, 0).law.y(x) for resample in resamples]
    expected = np.quantile(refits, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([band.low, band.high], expected, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_units_of_x_and_y_only_scale_the_parameters(x_unit: float, y_unit: float) -> None:
    y = LAWS[1].y(X)
    fit = fit_broken_law(X, y, 1).law
    scaled = fit_broken_law(X * x_unit, y * y_unit, 1).law
    assert scaled.a == pytest.approx(fit.a * y_unit, rel=1e-3)
    assert scaled.breaks[0].d == pytest.approx(fit.breaks[0].d * x_unit, rel=1e-3)
    assert scaled.breaks[0].c == pytest.approx(fit.breaks[0].c, rel=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "n_breaks", "message"),
    [
        ([1, 2, 3, 4], [4, 3, 2, 1], None, "give more points"),
        ([1, 2, 3, 4, 5], [4, 3, 2, 1, 1], 1, "6 parameters"),
        ([1, 2, 3], [4, 3, 2], 4, "want 0 to 3"),
        ([1, 2], [4, 3], 0, "at least 3"),
        ([0, 2, 3], [4, 3, 2], 0, r"x\[0\] is 0"),
        ([1, 2, 3], [4, -3, 2], 0, r"y\[1\] is -3"),
        ([1, 2, 3], [4, np.inf, 2], 0, r"y\[1\] is inf"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused(
    x: list[float], y: list[float], n_breaks: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_broken_law(np.array(x, dtype=float), np.array(y, dtype=float), n_breaks)


def test_a_constant_has_no_r_squared() -> None:
    fit = fit_broken_law(X[:6], np.full(6, 2.0), 0)
    assert np.isnan(fit.r_squared)
    assert fit.train_rmsle == pytest.approx(0, abs=1e-9)
