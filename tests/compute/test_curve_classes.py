"""Curves with class and scores derived by hand from the rules, and invariances of the rules.

The axis of the catalogue has one point every half decade: a window is as wide as one interval. A
curve that rises has a constant segment in its fit. Its level c makes the integral of curve minus c
over the segment zero: a quadratic equation, because the segment extends into the falls beside it.
For [0, 8, 0, …], with intervals of width 1: (4 - c) + (8 - c)²/16 = 0, so c = 16 - √128.
"""

from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compute.curve_classes import CURVE_CLASSES, DEFAULT_THRESHOLDS, CurveScores, curve_scores
from tests.compute.isotonic_fits import isotonic_fits

AXIS = 10 ** (4 + 0.5 * np.arange(7))

# (losses, class, total drop of the fit, its sharpness: None where nothing falls)
CATALOGUE: list[tuple[list[float], str, float, float | None]] = [
    # learned: every loss below 0.3
    ([0.2] * 7, "learned", 0, None),
    ([0] * 7, "learned", 0, None),
    ([0.25, 0.2, 0.15, 0.1, 0.05, 0, 0], "learned", 0.25, 0.2),
    ([0.28, 0, 0, 0, 0, 0, 0], "learned", 0.28, 1),
    ([0.31, 0, 0, 0, 0, 0, 0], "irregular", 0.31, 1),  # one loss is too high
    ([0, 0, 0, 0, 0, 0, 0.31], "irregular", 0, None),
    # flat-high: every loss above 3, all within less than 1
    ([3.5] * 7, "flat-high", 0, None),
    ([4.05, 4, 3.8, 3.6, 3.4, 3.2, 3.1], "flat-high", 0.95, 0.2 / 0.95),
    ([10, 9.5, 9.5, 9.5, 9.5, 9.5, 9.5], "flat-high", 0.5, 1),
    # First down to 4.6, last level 4.2 + d with (0.4 - d) = d²/1.6.
    ([5, 4.2, 5, 4.2, 5, 4.2, 5], "flat-high", 1.6 - sqrt(1.28), 0.4 / (1.6 - sqrt(1.28))),
    ([3] * 7, "irregular", 0, None),  # not above 3
    ([5, 4.75, 4.5, 4.25, 4.25, 4, 4], "polygenic", 1, 0.25),  # a range of 1 is not below 1
    ([4, 4.25, 4.5, 4.5, 4.75, 4.75, 5], "inverse", 0, None),
    # monogenic: drop >= 2, at least 0.7 of it in one interval
    ([6, 6, 6, 0.1, 0.1, 0.1, 0.1], "monogenic", 5.9, 1),
    ([2, 0, 0, 0, 0, 0, 0], "monogenic", 2, 1),
    ([8, 8, 8, 8, 8, 8, 5], "monogenic", 3, 1),
    ([10, 10, 2.5, 2, 1.5, 1, 0], "monogenic", 10, 0.75),
    ([9, 9, 9, 1, 1, 1, 0], "monogenic", 9, 8 / 9),
    ([4, 4, 4, 4, 1.5, 1.5, 1.5], "monogenic", 2.5, 1),
    # First level: (6.5 - c) + (7 - c)² = 0.
    ([6, 7, 6.5, 1, 0, 1, 0.5], "monogenic", 7 - sqrt(3) / 2, 5.5 / (7 - sqrt(3) / 2)),
    ([0, 8, 0, 0, 0, 0, 0], "monogenic", 16 - sqrt(128), 1),  # a hump too, but this comes first
    ([2.5, 2.5, 2.5, 1, 1, 1, 1], "irregular", 1.5, 1),  # sharp, but too small a drop
    ([1.995, 0, 0, 0, 0, 0, 0], "irregular", 1.995, 1),
    # polygenic: drop >= 1, spread out
    ([7, 6, 5, 4, 3, 2, 1], "polygenic", 6, 1 / 6),
    ([4, 3.5, 3, 2.5, 2, 1.5, 1], "polygenic", 3, 1 / 6),
    ([6, 6, 3, 0, 0, 0, 0], "polygenic", 6, 0.5),  # one whole decade for the fall
    ([9, 9, 9, 6, 3, 3, 3], "polygenic", 6, 0.5),
    ([5, 2, 2, 2, 2, 2, 0], "polygenic", 5, 0.6),
    ([10, 10, 3.5, 2, 1.5, 1, 0], "polygenic", 10, 0.65),
    ([10, 10, 3.05, 2, 1.5, 1, 0], "polygenic", 10, 0.695),
    ([1.495, 1.3, 1.1, 0.95, 0.8, 0.65, 0.5], "irregular", 0.995, 0.2 / 0.995),
    ([3, 2.75, 2.5, 2.5, 2.25, 2, 2], "polygenic", 1, 0.25),
    # Last level: (1.5 - c) = (c - 1)²/4; the best window ends where that is reached.
    ([6, 5, 6, 4, 3, 1, 2], "polygenic", 7 - sqrt(6), (3 - sqrt(6) / 2) / (7 - sqrt(6))),
    # These sag too, but this rule comes first. 5 - 3c = c²/4; 6 - 4c = (c - 1)²/2.
    ([6, 4, 2, 0, 2, 2, 2], "polygenic", 12 - sqrt(56), 2 / (12 - sqrt(56))),
    ([3, 2, 1, 1, 1, 2, 3], "polygenic", 6 - sqrt(20), 1 / (6 - sqrt(20))),
    ([0.9, 0.8, 0.7, 0.6, 0.4, 0.2, 0], "irregular", 0.9, 0.2 / 0.9),  # too small a drop
    # inverse: the last loss at least 1 above the first
    ([1, 1.5, 2, 2.5, 3, 3.5, 4], "inverse", 0, None),
    ([0, 0, 0, 0, 0, 0, 1], "inverse", 0, None),
    ([0.5, 0.5, 0.5, 3, 3, 3, 3], "inverse", 0, None),
    ([2, 1, 2, 3, 3, 4, 5], "inverse", 0, None),  # sags by 1 too, but this rule comes first
    ([1, 1, 1, 1, 1, 1, 1.9], "irregular", 0, None),
    # u-shaped: an inner loss at least 1 below both ends
    # 5.5 - 4c = (c - 1)²: a drop between 1 and 2, but too sharp for polygenic.
    ([3, 1.5, 1, 1, 1, 1.5, 3], "u-shaped", 4 - sqrt(5.5), 1.5 / (4 - sqrt(5.5))),
    ([2, 2, 2, 0.5, 2, 2, 2], "u-shaped", 6 - sqrt(31.5), 1),  # 5.25 - 3c = (c - 0.5)²/3
    # 0.5 - 5c = c²/2.5
    ([1.25, 0, 0, 0, 0, 0, 1], "u-shaped", 7.5 - sqrt(161.25) / 2, 1),
    # Too shallow: d above 0.25 with 3.375 - 5d = d²/1.5.
    ([1, 0.25, 1, 1, 1, 1, 1], "irregular", 4.5 - sqrt(76.5) / 2, 1),
    # hump: an inner loss at least 1 above both ends
    ([1, 1, 1, 3, 1, 1, 1], "hump", 8 - sqrt(56), 1),  # 4 - 3c + (3 - c)²/4 = 0
    ([0, 2, 0, 0, 0, 0, 0], "hump", 4 - sqrt(8), 1),  # 1 - c + (2 - c)²/4 = 0
    # d above 0.5: 1.5 - 2d + (3 - d)²/6 = 0
    ([0.5, 0.5, 3.5, 0.5, 0.5, 0.5, 0.5], "hump", 9 - sqrt(63), 1),
    # Too low; d above 1: 0.45 - 3d + (0.9 - d)²/1.8 = 0.
    ([1, 1, 1, 1.9, 1, 1, 1], "irregular", 3.6 - sqrt(11.34), 1),
    ([3, 1, 3, 3, 3, 5, 3], "u-shaped", 0, None),  # as far below as above: the sag decides
    # Further above; d above 3: -0.75 - 5d + (2.5 - d)²/5 = 0.
    ([3, 1, 3, 3, 3, 5.5, 3], "hump", 15 - sqrt(222.5), 1),
    # irregular: none of these
    # First down to 1.75, last level 1.5 + d with 0.25 - d = d².
    ([2, 1.5, 2, 1.5, 2, 1.5, 2], "irregular", 1 - sqrt(0.5), 0.25 / (1 - sqrt(0.5))),
    # d above 1: 0.5 - 4d + 5(0.2 - d)² = 0
    ([1, 1.1, 1.2, 1.1, 1.2, 1.1, 1], "irregular", 0.6 - sqrt(0.22), 0.1 / (0.6 - sqrt(0.22))),
]
CURVES = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.just(7)), elements=st.floats(0, 12, width=16)
)


def scored(curves: Any, axis: NDArray[np.float64] = AXIS) -> CurveScores:
    return curve_scores(np.atleast_2d(np.array(curves, dtype=float)), axis)


def test_the_catalogue_covers_every_class() -> None:
    assert len(CATALOGUE) >= 40
    assert {name for _, name, _, _ in CATALOGUE} == set(CURVE_CLASSES)


@pytest.mark.parametrize(("curve", "name", "drop", "sharpness"), CATALOGUE)
def test_class_and_scores_follow_from_the_rules(
    curve: list[float], name: str, drop: float, sharpness: float | None
) -> None:
    scores = scored(curve)
    assert CURVE_CLASSES[int(scores.curve_class[0])] == name
    assert scores.total_drop[0] == pytest.approx(drop, abs=1e-12)
    if sharpness is None:
        assert np.isnan(scores.sharpness[0])
    else:
        assert scores.sharpness[0] == pytest.approx(sharpness, abs=1e-12)
    assert scores.final_loss[0] == curve[-1]


@pytest.mark.parametrize(
    ("curve", "decades"),
    [
        ([6, 6, 6, 0, 0, 0, 0], 5.25),  # half-way between points 2 and 3, at 10^5 and 10^5.5
        ([2, 0, 0, 0, 0, 0, 0], 4.25),
        ([8, 8, 8, 8, 8, 8, 5], 6.75),
        ([7, 6, 5, 4, 3, 2, 1], 5.5),
        ([6, 6, 3, 0, 0, 0, 0], 5.0),
        ([8, 5, 2, 0, 0, 0, 0], 4.5 + 0.5 / 3),  # 4 is a third of the way from 5 to 2
    ],
)
def test_emergence_by_hand(curve: list[float], decades: float) -> None:
    assert np.log10(scored(curve).emergence[0]) == pytest.approx(decades, abs=1e-12)


def is_clear(scores: CurveScores) -> bool:
    """Return whether no curve is so close to a threshold that rounding decides its class."""
    limits = DEFAULT_THRESHOLDS
    sharp = np.abs(scores.sharpness - limits.sharpness)
    drops = [np.abs(scores.total_drop - x) for x in (limits.polygenic_drop, limits.monogenic_drop)]
    return bool((np.fmin.reduce([sharp, *drops]) > 1e-9).all())


@settings(deadline=None)
@given(CURVES, st.floats(1e-6, 1e6))
def test_scores_do_not_depend_on_the_unit_of_size(curves: NDArray[np.float64], unit: float) -> None:
    scores, rescaled = scored(curves), scored(curves, AXIS * unit)
    assume(is_clear(scores))
    np.testing.assert_array_equal(scores.curve_class, rescaled.curve_class)
    np.testing.assert_array_equal(scores.published_monogenic, rescaled.published_monogenic)
    np.testing.assert_array_equal(scores.published_banded, rescaled.published_banded)
    for name in ("total_drop", "sharpness", "final_loss", "monotonicity", "slope", "r_squared"):
        np.testing.assert_allclose(getattr(scores, name), getattr(rescaled, name), atol=1e-9)
    np.testing.assert_allclose(rescaled.emergence, scores.emergence * unit, rtol=1e-9)


@settings(deadline=None)
@given(CURVES, st.lists(st.floats(0, 6), min_size=1, max_size=20))
def test_refining_the_axis_by_interpolation_changes_no_class(
    curves: NDArray[np.float64], added: list[float]
) -> None:
    coarse = scored(curves)
    assume(is_clear(coarse))
    fine = np.unique(np.concatenate([np.arange(7), np.round(added, 6)]))
    between = np.array([np.interp(fine, np.arange(7), row) for row in curves])
    refined = scored(between, 10 ** (4 + 0.5 * fine))
    np.testing.assert_array_equal(refined.curve_class, coarse.curve_class)
    np.testing.assert_array_equal(refined.emergence_censored, coarse.emergence_censored)
    for name in ("total_drop", "sharpness", "final_loss", "largest_rise"):
        np.testing.assert_allclose(getattr(refined, name), getattr(coarse, name), atol=1e-7)
    # A fit that is flat at half of its drop reaches that level anywhere on the flat segment:
    # compare the levels, not the positions.
    uncensored = coarse.emergence_censored == 0
    steep = uncensored & (coarse.total_drop > 1e-3)
    for row in np.flatnonzero(steep):
        positions = (np.log10([coarse.emergence[row], refined.emergence[row]]) - 4) / 0.5
        at = np.sort(np.clip(positions, 0, 6))
        levels = isotonic_fits(curves[row : row + 1], np.arange(7.0), at)[0]
        assert abs(levels[0] - levels[1]) <= 1e-6 * (1 + coarse.total_drop[row])


@pytest.mark.parametrize("times", [2, 3, 5, 22])
def test_refining_the_axis_does_not_change_the_catalogue(times: int) -> None:
    fine = np.linspace(0, 6, 6 * times + 1)
    for curve, name, drop, sharpness in CATALOGUE:
        scores = scored(np.interp(fine, np.arange(7), curve), 10 ** (4 + 0.5 * fine))
        assert CURVE_CLASSES[int(scores.curve_class[0])] == name, curve
        assert scores.total_drop[0] == pytest.approx(drop, abs=1e-9)
        assert sharpness is None or scores.sharpness[0] == pytest.approx(sharpness, abs=1e-9)


@settings(deadline=None)
@given(CURVES, st.sampled_from([0.25, 1.0, 3.5]))
def test_a_constant_changes_only_levels(curves: NDArray[np.float64], constant: float) -> None:
    scores, shifted = scored(curves), scored(curves + constant)
    assume(is_clear(scores))
    unchanged = ("total_drop", "sharpness", "monotonicity", "largest_rise", "slope", "r_squared")
    for name in unchanged:
        np.testing.assert_allclose(
            getattr(scores, name), getattr(shifted, name), atol=1e-7, err_msg=name
        )
    np.testing.assert_allclose(shifted.final_loss, scores.final_loss + constant)
    uncensored = (scores.emergence_censored == 0) & (shifted.emergence_censored == 0)
    np.testing.assert_allclose(
        scores.emergence[uncensored], shifted.emergence[uncensored], rtol=1e-7
    )
    level = [CURVE_CLASSES.index(name) for name in ("learned", "flat-high")]
    free = ~np.isin(scores.curve_class, level) & ~np.isin(shifted.curve_class, level)
    excess = np.abs(np.ptp(curves, axis=1) - 1) > 1e-6
    moved = np.abs(np.abs(curves[:, 0] - curves[:, -1]) - 1) > 1e-6
    np.testing.assert_array_equal(
        scores.curve_class[free & excess & moved], shifted.curve_class[free & excess & moved]
    )


def monogenic_by_the_paper(curve: list[float]) -> int:
    """Return the j with > 5 nats at all smaller models and < 0.3 nats at j and all larger ones."""
    for j in range(1, len(curve)):
        if all(loss > 5 for loss in curve[:j]) and all(loss < 0.3 for loss in curve[j:]):
            return j
    return -1


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, 0.2, 0.29, 0.3, 0.31, 4.9, 5.0, 5.01, 7.0]), min_size=7, max_size=7
    ),
    st.integers(0, 7),
)
def test_published_monogenic_follows_the_rule_of_the_paper(losses: list[float], j: int) -> None:
    descending = sorted(losses, reverse=True)
    curve = [5.5] * j + [0.1] * (7 - j)
    for candidate in (losses, descending, curve, [*curve[:6], losses[0]], [losses[0], *curve[1:]]):
        assert scored(candidate).published_monogenic[0] == monogenic_by_the_paper(candidate)


@settings(deadline=None)
@given(CURVES, st.floats(-1.2, 0.2), st.floats(0, 0.5))
def test_published_polygenic_follows_the_rule_of_the_paper(
    curves: NDArray[np.float64], slope: float, noise: float
) -> None:
    x = np.log(AXIS)
    lines = 14 + slope * (x - x[0]) + noise * (curves - 6) / 6
    for curve, is_polygenic in zip(lines, scored(lines).published_polygenic, strict=True):
        (fitted, _), residuals, *_ = np.polyfit(x, curve, 1, full=True)
        spread = ((curve - curve.mean()) ** 2).sum()
        r_squared = 1 - residuals[0] / spread if spread > 0 else 0.0
        assume(abs(fitted + 0.3) > 1e-9 and abs(r_squared - 0.98) > 1e-9)
        assert is_polygenic == (fitted < -0.3 and r_squared > 0.98)
