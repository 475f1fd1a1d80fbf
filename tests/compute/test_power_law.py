import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compute.power_law import MIN_POINTS, FloorRule, choose_floor, fit_power_law

X = np.geomspace(1e7, 1e10, 8)
# published mean losses in bits against non-embedding parameters, arXiv:2303.13506, section 5
SIZES = np.array([18915328, 85056000, 302311424, 805736448, 1208602624, 2517652480, 6444163072.0])
BITS = np.array([4.22, 3.67, 3.30, 3.07, 2.99, 2.81, 2.70])


@given(st.floats(-1, 1.5), st.floats(0.1, 1e4))
def test_exact_power_law_is_recovered(exponent: float, amplitude: float) -> None:
    fit = fit_power_law(X, amplitude * X**-exponent, n_bootstrap=0)
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.amplitude == pytest.approx(amplitude, rel=1e-7)
    assert fit.floor == 0


@pytest.mark.parametrize("floor", [0.2, 1.7, 3.0])
@pytest.mark.parametrize("exponent", [0.083, 0.3, 0.6])
def test_free_floor_is_recovered(floor: float, exponent: float) -> None:
    fit = fit_power_law(X, floor + 30 * X**-exponent, floor="free", n_bootstrap=0)
    assert fit.floor == pytest.approx(floor, rel=1e-5)
    assert fit.exponent == pytest.approx(exponent, rel=1e-4)
    assert fit.amplitude == pytest.approx(30, rel=1e-3)


def test_free_floor_of_a_law_without_floor_is_zero() -> None:
    fit = fit_power_law(X, 30 * X**-0.3, floor="free", n_bootstrap=0)
    assert fit.floor == pytest.approx(0, abs=1e-6)
    assert fit.exponent == pytest.approx(0.3, abs=1e-6)


def test_free_floor_is_never_beaten_by_a_grid_of_floors_and_exponents() -> None:
    rng = np.random.default_rng(3)
    y = (1.5 + 40 * X**-0.2) * np.exp(0.01 * rng.standard_normal(len(X)))
    fit = fit_power_law(X, y, floor="free", n_bootstrap=0)

    def squares(floor: float, exponent: float, amplitude: float) -> float:
        model = floor + amplitude * X**-exponent
        return float(((np.log(model) - np.log(y)) ** 2).sum())

    least = squares(fit.floor, fit.exponent, fit.amplitude)
    for floor in np.linspace(0, y.min(), 60):
        for exponent in np.linspace(0.02, 0.6, 60):
            t = X**-exponent
            amplitude = np.linalg.lstsq(t[:, None] / y[:, None], (y - floor) / y)[0][0]
            assert least <= squares(floor, exponent, max(amplitude, 0)) + 1e-12


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=12))
def test_a_fit_without_floor_equals_polyfit(values: list[float]) -> None:
    y = np.array(values)
    x = np.arange(1, len(y) + 1) ** 2.0
    fit = fit_power_law(x, y, n_bootstrap=0)
    ln_x, ln_y = np.log(x), np.log(y)
    expected = np.polyfit(ln_x, ln_y, 1)
    np.testing.assert_allclose([-fit.exponent, np.log(fit.amplitude)], expected, atol=1e-10)
    if ln_y.max() == ln_y.min():
        assert np.isnan(fit.r_squared)
    elif np.ptp(ln_y) > 1e-6:
        correlation = np.corrcoef(ln_x, ln_y)[0, 1]
        assert fit.r_squared == pytest.approx(correlation**2, abs=1e-9)


def test_published_losses_give_the_published_exponent() -> None:
    fit = fit_power_law(SIZES[:-1], BITS[:-1], seed=1)  # the paper leaves the last model out
    assert fit.exponent == pytest.approx(0.083, abs=0.001)  # the losses are rounded: 0.0821
    assert abs(fit_power_law(SIZES, BITS, n_bootstrap=0).exponent - 0.083) > 0.004
    assert fit.interval[0] < 0.083 < fit.interval[1]
    assert fit.window == (SIZES[0], SIZES[-2])
    assert fit.r_squared > 0.997


def unit_values(n_units: int, seed: int, alpha: float = 0.3) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(0, 0.2, (n_units, len(X)))
    return np.asarray(X**-alpha * 1e3 * np.exp(noise))


def test_unit_interval_has_its_nominal_coverage() -> None:
    covered = 0
    for seed in range(120):
        units = unit_values(60, seed)
        fit = fit_power_law(
            X, units.mean(axis=0), y_by_unit=units, n_bootstrap=200, level=0.8, seed=seed
        )
        covered += fit.interval[0] <= 0.3 <= fit.interval[1]
    assert 0.68 <= covered / 120 <= 0.9  # 0.8 within three standard errors


def test_unit_interval_narrows_with_the_root_of_the_number_of_units() -> None:
    widths = []
    for n_units in (50, 800):
        units = unit_values(n_units, 0)
        fit = fit_power_law(X, units.mean(axis=0), y_by_unit=units, n_bootstrap=600)
        widths.append(fit.interval[1] - fit.interval[0])
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_units_of_weight_zero_are_ignored() -> None:
    steep, flat = unit_values(20, 0), unit_values(20, 1, alpha=0.1)
    units = np.concatenate([steep, flat])
    fit = fit_power_law(
        X, steep.mean(axis=0), y_by_unit=units, weights=np.repeat([1.0, 0.0], 20), n_bootstrap=200
    )
    assert fit.interval[0] < 0.3 < fit.interval[1] < 0.4
    assert fit.interval[0] > 0.2


def test_point_interval_of_an_exact_law_is_a_point() -> None:
    fit = fit_power_law(X, 3 * X**-0.4, n_bootstrap=100)
    np.testing.assert_allclose(fit.interval, 0.4, atol=1e-9)


def test_a_seed_or_its_generator_reproduces_the_interval() -> None:
    noisy = unit_values(1, 0)[0]
    first, second, other = (fit_power_law(X, noisy, seed=seed) for seed in (4, 4, 5))
    by_generator = fit_power_law(X, noisy, seed=np.random.default_rng(4))
    assert first == second
    assert first.interval == by_generator.interval != other.interval
    assert by_generator.seed is None


def test_no_bootstrap_gives_no_interval() -> None:
    fit = fit_power_law(X, BITS[0] * X**-0.1, n_bootstrap=0)
    assert fit.n_bootstrap == 0
    assert np.isnan(fit.interval).all()


@pytest.mark.parametrize("floor", ["zero", "free"])
def test_a_constant_has_exponent_zero_and_no_r_squared(floor: FloorRule) -> None:
    fit = fit_power_law(X, np.full(len(X), 2.0), floor=floor, n_bootstrap=20)
    assert fit.exponent == 0
    assert fit.amplitude == pytest.approx(2)
    assert np.isnan(fit.r_squared)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [2, 1], f"at least {MIN_POINTS}"),
        ([0, 1, 2], [3, 2, 1], r"x\[0\] is 0"),
        ([1, 2, 3], [3, np.nan, 1], r"y\[1\] is nan"),
        ([1, 2, 3], [3, 2, -1], r"y\[2\] is -1"),
        ([1, 2, 2], [3, 2, 1], "repeats"),
    ],
)
def test_points_without_a_logarithm_are_refused(
    x: list[float], y: list[float], message: str
) -> None:
    for function in (fit_power_law, choose_floor):
        with pytest.raises(ValueError, match=message):
            function(np.array(x, dtype=float), np.array(y, dtype=float))


@pytest.mark.parametrize(
    ("units", "weights", "message"),
    [
        (np.full((2, 8), np.nan), None, "not finite"),
        (np.ones((2, 8)), np.array([1.0, -1]), "weights"),
        (np.ones((2, 8)), np.zeros(2), "all 0"),
    ],
)
def test_units_that_do_not_fit_are_refused(
    units: NDArray[np.float64], weights: NDArray[np.float64] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_power_law(X, X**-0.1, y_by_unit=units, weights=weights)


def test_units_of_another_axis_are_refused() -> None:
    # TypeError from jaxtyping where shapes are checked at run time.
    with pytest.raises((ValueError, TypeError), match=r"y_resamples has shape|Type-check error"):
        fit_power_law(X, X**-0.1, y_by_unit=np.ones((2, 3)))


def test_a_level_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < level < 1"):
        fit_power_law(X, X**-0.1, level=1.0)


def test_aicc_chooses_a_floor_only_where_the_points_support_it() -> None:
    law, law_with_floor = 30 * X**-0.3, 1.5 + 30 * X**-0.3
    noise = np.exp(0.001 * np.random.default_rng(0).standard_normal(len(X)))
    assert choose_floor(X, law * noise) == "zero"
    assert choose_floor(X, law_with_floor * noise) == "free"
    assert choose_floor(X[:5], law_with_floor[:5]) == "zero"  # too few points for AICc


def test_the_small_sample_correction_of_aicc_counts() -> None:
    """With 6 points AICc requires a gain of 30 in n ln(variance), AIC only 2."""
    x = X[:6]
    y = (0.002 + 30 * x**-0.3) * np.exp(0.001 * np.random.default_rng(0).standard_normal(6))
    rules: tuple[FloorRule, ...] = ("zero", "free")
    fits = [fit_power_law(x, y, floor=rule, n_bootstrap=0) for rule in rules]
    rows = [np.log(fit.floor + fit.amplitude * x**-fit.exponent) - np.log(y) for fit in fits]
    zero, free = (6 * np.log(np.mean(residuals**2)) for residuals in rows)
    assert 2 < zero - free < 30
    assert choose_floor(x, y) == "zero"
