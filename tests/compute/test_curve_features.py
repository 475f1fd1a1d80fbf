import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import linregress, rankdata, spearmanr

from compute.curve_classes import CURVE_CLASSES, CurveScores, CurveThresholds, curve_scores
from compute.isotonic import decreasing_features
from tests.compute.isotonic_fits import isotonic_fits

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = np.array([18915328, 85056000, 302311424, 805736448, 1208602624, 2517652480, 6444163072.0])
CURVES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(3, 14)),
    elements=st.floats(0, 12, width=16),  # few distinct values, so that ties occur
)


def score(curve: list[float], axis: NDArray[np.float64] = SIZES) -> CurveScores:
    return curve_scores(np.array([curve], dtype=float), axis)


def class_of(curve: list[float]) -> str:
    return CURVE_CLASSES[int(score(curve).curve_class[0])]


def log_axis(curves: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    steps = np.random.default_rng(seed).uniform(0.05, 0.8, curves.shape[1])
    return np.asarray(10 ** np.cumsum(steps))


def dense_fit(
    curve: NDArray[np.float64], places: NDArray[np.float64], parts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return midpoints of many short pieces, scipy's weighted isotonic fit, and its error bound."""
    fine = np.interp(
        np.arange(parts * (len(places) - 1) + 1) / parts, np.arange(len(places)), places
    )
    values = np.interp(fine, places, curve)
    means = (values[1:] + values[:-1]) / 2
    fit = isotonic_regression(means, weights=np.diff(fine), increasing=False).x
    # The means differ from the curve by at most half a step, and so do the projections.
    return (fine[1:] + fine[:-1]) / 2, fit, float(np.abs(np.diff(values)).max())


@settings(deadline=None)
@given(CURVES)
def test_the_fit_equals_scipys_on_a_dense_axis(curves: NDArray[np.float64]) -> None:
    places = np.log10(log_axis(curves))
    for curve in curves:
        middles, expected, step = dense_fit(curve, places, 200)
        fit = isotonic_fits(curve[None], places, middles)[0]
        np.testing.assert_allclose(fit, expected, rtol=0, atol=step + 1e-9)


@pytest.mark.parametrize("n_points", [5, 12, 143, 154])
def test_the_fit_is_the_projection_on_long_curves(n_points: int) -> None:
    rng = np.random.default_rng(n_points)
    curves = rng.normal(0, 2, (40, n_points)) - np.linspace(0, 8, n_points)
    curves[0], curves[1] = np.arange(n_points), -np.arange(n_points)
    places = np.cumsum(rng.uniform(0.05, 0.8, n_points))
    fine = np.unique(np.concatenate([places, np.linspace(places[0], places[-1], 40 * n_points)]))
    for curve in curves:
        fit = isotonic_fits(curve[None], places, fine)[0]
        assert (np.diff(fit) <= 1e-9).all()
        # The integral of curve minus fit is never positive and ends at 0: the fit is the slope of
        # the least concave line above the curve's integral. The fit bends between the places of
        # this sum, which costs it the square of a step.
        rest = np.interp(fine, places, curve) - fit
        integral = np.concatenate([[0], np.cumsum((rest[1:] + rest[:-1]) / 2 * np.diff(fine))])
        error = np.abs(np.diff(rest)).max() * np.diff(fine).max()
        assert integral.max() <= error + 1e-12
        assert abs(integral[-1]) <= 2 * error + 1e-12


def test_a_falling_curve_is_its_own_fit() -> None:
    curve = np.array([[9.0, 9, 4, 3.5, 0]])
    places = np.array([0, 0.2, 1, 1.1, 3])
    np.testing.assert_array_equal(isotonic_fits(curve, places, places), curve)


@given(CURVES)
def test_sharpness_equals_the_best_window_of_a_fine_grid(curves: NDArray[np.float64]) -> None:
    axis = log_axis(curves)
    decades = np.log10(axis)
    scores = curve_scores(curves, axis)
    starts = np.linspace(decades[0] - 0.5, decades[-1], 4001)
    inside = np.clip(starts, *decades[[0, -1]]), np.clip(starts + 0.5, *decades[[0, -1]])
    falls = isotonic_fits(curves, decades, inside[0]) - isotonic_fits(curves, decades, inside[1])
    for row, curve in enumerate(curves):
        if scores.total_drop[row] == 0:
            assert np.isnan(scores.sharpness[row])
            continue
        grid = falls[row].max()
        # The grid is at most its step times the steepest slope below the maximum.
        slack = (starts[1] - starts[0]) * np.abs(np.diff(curve) / np.diff(decades)).max()
        largest = scores.sharpness[row] * scores.total_drop[row]
        assert grid - 1e-9 <= largest <= grid + slack + 1e-9


def test_sharpness_of_a_straight_fall_is_the_window_over_the_axis() -> None:
    axis = np.geomspace(1, 1e4, 9)
    assert score([9, 8, 7, 6, 5, 4, 3, 2, 1], axis).sharpness[0] == pytest.approx(0.5 / 4)


def test_sharpness_is_one_when_the_axis_is_shorter_than_the_window() -> None:
    assert score([9, 5, 1], np.array([1.0, 2, 3])).sharpness[0] == 1


@settings(deadline=None)
@given(CURVES, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8), st.integers(0, 99))
def test_points_inserted_on_segments_change_no_feature(
    curves: NDArray[np.float64], shares: list[float], seed: int
) -> None:
    decades = np.log10(log_axis(curves, seed))
    lefts = np.random.default_rng(seed).integers(0, len(decades) - 1, len(shares))
    inserted = decades[lefts] + shares * np.diff(decades)[lefts]
    dense = np.unique(np.concatenate([decades, inserted]))
    refined = np.array([np.interp(dense, decades, curve) for curve in curves])
    coarse = decreasing_features(curves, decades, 0.5)
    fine = decreasing_features(refined, dense, 0.5)
    for before, after in zip(coarse[:3], fine[:3], strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-9)
    # A fit that is flat at half of its drop reaches that level anywhere on the flat segment.
    for curve, *halves in zip(curves, coarse[3], fine[3], strict=True):
        levels = isotonic_fits(curve[None], decades, np.sort(halves))[0]
        np.testing.assert_allclose(levels[1], levels[0], rtol=0, atol=1e-9)


def test_sharpness_and_class_are_those_of_the_line_however_densely_it_is_sampled() -> None:
    knots_at = np.array([1e7, 2e8, 5e8, 1e10])
    dense = np.unique(np.concatenate([np.geomspace(1e7, 1e10, 154), knots_at]))
    for knots in ([6, 6, 0.1, 0.1], [6, 4, 2, 0.1]):
        curve = np.interp(np.log(dense), np.log(knots_at), knots)
        fine, coarse = curve_scores(curve[None], dense), curve_scores(np.array([knots]), knots_at)
        assert fine.curve_class[0] == coarse.curve_class[0]
        assert fine.sharpness[0] == pytest.approx(coarse.sharpness[0], abs=1e-9)
        assert fine.emergence[0] == pytest.approx(coarse.emergence[0], rel=1e-9)


@given(CURVES)
def test_monotonicity_equals_scipy_and_is_zero_for_constants(curves: NDArray[np.float64]) -> None:
    axis = log_axis(curves)
    scores = curve_scores(curves, axis).monotonicity
    for row, curve in enumerate(curves):
        constant = curve.max() == curve.min()
        expected = 0 if constant else spearmanr(axis, curve).statistic
        assert scores[row] == pytest.approx(expected, abs=1e-12)


@given(CURVES)
def test_slope_and_r_squared_equal_scipy(curves: NDArray[np.float64]) -> None:
    axis = log_axis(curves)
    scores = curve_scores(curves, axis)
    for row, curve in enumerate(curves):
        line = linregress(np.log(axis), curve)
        assert scores.slope[row] == pytest.approx(line.slope, abs=1e-10)
        if curve.max() > curve.min():
            assert scores.r_squared[row] == pytest.approx(line.rvalue**2, abs=1e-9)
        else:
            assert np.isnan(scores.r_squared[row])


@given(CURVES)
def test_largest_rise_equals_the_loop_over_pairs(curves: NDArray[np.float64]) -> None:
    scores = curve_scores(curves, log_axis(curves)).largest_rise
    for row, curve in enumerate(curves):
        assert scores[row] == max(later - x for i, x in enumerate(curve) for later in curve[i:])


@given(CURVES)
def test_emergence_is_where_the_fit_completes_half_of_its_drop(curves: NDArray[np.float64]) -> None:
    axis = log_axis(curves)
    scores = curve_scores(curves, axis)
    decades = np.log10(axis)
    for row, curve in enumerate(curves):
        emergence = scores.emergence[row]
        assert np.isnan(emergence) == (scores.emergence_censored[row] != 0)
        if not np.isnan(emergence):
            half = np.clip(np.log10(emergence), decades[0], decades[-1])
            at = np.array([decades[0], half, decades[-1]])
            first, level, last = isotonic_fits(curve[None], decades, at)[0]
            assert level == pytest.approx((first + last) / 2, abs=1e-7)


@pytest.mark.parametrize(
    ("curve", "censored"),
    [
        ([0.29, 0.1, 0, 0, 0, 0, 0], -1),
        ([5, 5, 5, 5, 5, 4.5, 4.5], 1),
        ([5, 5, 5, 5, 5, 4.005, 4.005], 1),
        ([5, 5, 5, 5, 5, 4, 4], 0),
        ([1, 1, 1, 1, 1, 2, 5], 1),
        ([0.9, 0.9, 0.5, 0.1, 0.1, 0.1, 0.1], 0),
        ([5, 5, 5, 5, 0, 0, 0], 0),
    ],
)
def test_emergence_is_censored_outside_the_axis(curve: list[float], censored: int) -> None:
    scores = score(curve)
    assert scores.emergence_censored[0] == censored
    assert np.isnan(scores.emergence[0]) == (censored != 0)


def test_emergence_of_a_step_is_the_geometric_mean_of_its_ends() -> None:
    assert score([6, 6, 0, 0], np.array([1.0, 10, 1000, 10_000])).emergence[0] == pytest.approx(100)


@pytest.mark.parametrize(
    ("curve", "name"),
    [
        ([0.2, 0.29, 0.1, 0, 0, 0, 0], "learned"),
        ([3.9, 3.5, 3.1, 3.2, 3.4, 3.3, 3.2], "flat-high"),
        ([6, 6, 6, 0.1, 0.1, 0.1, 0.1], "monogenic"),
        ([6, 5, 4, 3, 2.5, 1.5, 0.5], "polygenic"),
        ([1, 1.2, 1.4, 1.6, 1.8, 2, 2.2], "inverse"),
        ([2, 1.8, 0.4, 0.3, 0.4, 1.7, 2.1], "u-shaped"),
        ([1, 1.5, 2.6, 2.5, 1.5, 1.2, 0.9], "hump"),
        ([1, 1.1, 1.2, 1.1, 1.2, 1.1, 1], "irregular"),
    ],
)
def test_each_class_has_its_example(curve: list[float], name: str) -> None:
    assert class_of(curve) == name


def test_rules_are_tried_in_order() -> None:
    assert class_of([3.95, 3.1, 3.1, 3.1, 3.1, 3.1, 3.1]) == "flat-high"  # range < 1 comes first
    assert class_of([4.5, 3.1, 3.1, 3.1, 3.1, 3.1, 1]) == "polygenic"  # two falls, neither 0.7
    assert class_of([3, 1, 3, 3, 3, 5.5, 3]) == "hump"  # bulges further than it sags
    assert class_of([3, 1, 3, 3, 3, 5, 3]) == "u-shaped"  # equally far


@pytest.mark.parametrize("j", [1, 3, 6])
def test_published_monogenic_compares_the_plateau_before_j_and_the_one_from_j(j: int) -> None:
    # searching [:, :j] for both plateaus, as the published code does, never matches
    curve = [5.5] * j + [0.2] * (7 - j)
    assert score(curve).published_monogenic[0] == j
    assert score(curve).published_banded[0] == j


@pytest.mark.parametrize(
    "curve",
    [
        [5, 5.5, 0.1, 0.1, 0.1, 0.1, 0.1],  # 5 is not above 5
        [5.5, 5.5, 0.3, 0.1, 0.1, 0.1, 0.1],
        [5.5, 5.5, 0.1, 0.1, 0.1, 0.1, 5.5],
        [5.5, 0.1, 5.5, 0.1, 0.1, 0.1, 0.1],
        [0.1] * 7,
        [5.5] * 7,
    ],
)
def test_published_monogenic_refuses_other_curves(curve: list[float]) -> None:
    assert score(curve).published_monogenic[0] == -1


def band_index_by_search(curve: NDArray[np.float64]) -> int:
    """Search bands on a fine grid of lower edges, like the published code."""
    edges = np.arange(0, 12.001, 0.03125)
    for j in range(1, len(curve)):
        before, after = curve[:j], curve[j:]
        high = [u for u in edges if (before >= u).all() and (before <= u + 0.6875).all()]
        low = [u for u in edges if (after >= u).all() and (after <= u + 0.6875).all()]
        if high and low and high[-1] - low[0] > 2:
            return j
    return -1


@given(
    st.integers(1, 6),
    hnp.arrays(np.int64, 7, elements=st.integers(0, 30)),
    st.integers(32, 90),
)
def test_published_banded_equals_a_search_over_bands(
    j: int, jitter: NDArray[np.int64], fall: int
) -> None:
    curve = (jitter + np.where(np.arange(7) < j, fall + 10, 10)) / 32
    limits = CurveThresholds(published_band=0.6875)  # a multiple of the grid's 1/32 nat
    scores = curve_scores(curve[None], SIZES, limits).published_banded[0]
    assert scores == band_index_by_search(curve)


def test_published_polygenic_requires_a_steep_straight_line() -> None:
    x = np.log(SIZES / SIZES[0])
    assert score(list(4 - 0.4 * x)).published_polygenic[0]
    assert not score(list(4 - 0.2 * x)).published_polygenic[0]
    assert not score([4, 4, 4, 4, 4, 1, 1]).published_polygenic[0]


def test_a_loss_that_is_not_finite_makes_only_its_own_curve_undefined() -> None:
    good = [6.0, 6, 6, 0.1, 0.1, 0.1, 0.1]
    bad = np.array([good, good, good])
    bad[0, 2], bad[2, 6] = np.nan, np.inf
    scores, alone = curve_scores(bad, SIZES), score(good)
    assert list(scores.curve_class) == [255, alone.curve_class[0], 255]
    assert list(scores.published_monogenic) == [-1, 3, -1]
    for field in fields(CurveScores):
        values = getattr(scores, field.name)
        assert values[1] == pytest.approx(getattr(alone, field.name)[0], rel=1e-12)
        assert values.dtype.kind != "f" or np.isnan(values[[0, 2]]).all()


def test_half_precision_scores_equal_those_of_the_same_values_in_double() -> None:
    half = np.random.default_rng(0).gamma(2, 2, (50, 7)).astype(np.float16)
    for field in fields(CurveScores):
        np.testing.assert_array_equal(
            getattr(curve_scores(half, SIZES), field.name),
            getattr(curve_scores(half.astype(np.float64), SIZES), field.name),
        )


def test_scoring_does_not_modify_the_losses() -> None:
    losses = np.array([[np.nan, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]])
    before = losses.copy()
    curve_scores(losses, SIZES)
    np.testing.assert_array_equal(losses, before)


def test_an_axis_of_another_length_is_refused() -> None:
    # TypeError from jaxtyping where shapes are checked at run time.
    with pytest.raises((ValueError, TypeError), match=r"do not fit axis|Type-check error"):
        curve_scores(np.ones((2, 5)), SIZES)


def test_no_predictions_give_empty_scores() -> None:
    scores = curve_scores(np.zeros((0, 7)), SIZES)
    assert all(len(getattr(scores, field.name)) == 0 for field in fields(CurveScores))


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ([0, 1, 2], "step 0"),
        ([-1, 1, 2], "drop that point"),
        ([1, np.nan, 2], "drop that point"),
        ([1, 3, 2], "sort the points"),
        ([1, 1, 2], "sort the points"),
        ([1, 2], "at least 3"),
    ],
)
def test_an_axis_that_has_no_logarithm_or_order_is_refused(axis: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curve_scores(np.ones((2, len(axis))), np.array(axis, dtype=float))


@pytest.mark.parametrize("n_points", [3, 7, 24, 25, 60])
def test_columnwise_statistics_equal_scipy_and_loops(n_points: int) -> None:
    rng = np.random.default_rng(n_points)
    smooth = rng.gamma(0.6, 3, (300, n_points))
    curves_ = np.concatenate([smooth, rng.integers(0, 5, (300, n_points)) / 2])
    scores = curve_scores(curves_, np.arange(1.0, n_points + 1))
    ranks = np.array([rankdata(row) for row in curves_])
    middle = (n_points + 1) / 2
    x, y = np.arange(1, n_points + 1) - middle, ranks - middle
    spread = np.sqrt((y**2).sum(1) * (x**2).sum())
    expected = np.divide(y @ x, spread, out=np.zeros(len(y)), where=spread > 0)
    np.testing.assert_allclose(scores.monotonicity, expected, rtol=0, atol=1e-15)
    rises = [max(max(row[i:]) - low for i, low in enumerate(row)) for row in curves_]
    np.testing.assert_array_equal(scores.largest_rise, rises)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_scores_do_not_depend_on_the_size_of_blocks(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = np.random.default_rng(0).gamma(0.6, 3, (600, 7)).astype(np.float16)
    axis = 10.0 ** np.arange(7)
    expected = curve_scores(losses, axis)
    monkeypatch.setattr("compute.curve_classes.BLOCK_PREDICTIONS", rows)
    scores = curve_scores(losses, axis)
    for field in fields(CurveScores):
        np.testing.assert_allclose(
            getattr(scores, field.name), getattr(expected, field.name), rtol=1e-12, atol=1e-12
        )
    np.testing.assert_array_equal(scores.curve_class, expected.curve_class)
    np.testing.assert_allclose(scores.sharpness, expected.sharpness, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(scores.total_drop, expected.total_drop)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import numpy as np
from compute.curve_classes import curve_scores
curves = np.random.default_rng(0).gamma(0.6, 3, (300, 7))
np.save(sys.argv[1], curve_scores(curves, 10.0 ** np.arange(7)).sharpness)
"""


def test_scores_without_numba_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "sharpness.npy"
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA, str(path)], check=True, cwd=ROOT)
    curves = np.random.default_rng(0).gamma(0.6, 3, (300, 7))
    expected = curve_scores(curves, 10.0 ** np.arange(7)).sharpness
    np.testing.assert_allclose(np.load(path), expected, rtol=1e-12)
