"""Slopes over width, steps and data: exact for exact sums, with counted constants."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compute.parity_fits import (
    FiniteSum,
    TooFewPointsError,
    data_law,
    fit_law,
    steps_law,
    width_law,
)
from compute.parity_problem import Problem
from compute.quanta_theory import finite_slopes, loss_after

problems = st.builds(
    Problem,
    tasks=st.integers(8, 60),
    bits=st.just(24),
    subset=st.just(3),
    alpha=st.floats(0.1, 1.5),
)


@settings(max_examples=30)
@given(problems, st.sampled_from(["N", "S", "D"]), st.floats(0.5, 1e4), st.data())
def test_finite_sums_have_the_finite_slopes(
    problem: Problem, axis: str, scale: float, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, problem.tasks - 4))
    last = data.draw(st.integers(first + 2, problem.tasks - 1))
    n = np.arange(first, last + 1)
    p = problem.frequencies()
    x = scale * n if axis == "N" else scale / p[n - 1]
    loss = loss_after(n, p)
    assume((loss < 0.95).sum() >= 3)
    finite_sum = FiniteSum(problem, axis, scale)  # type: ignore[arg-type]
    assert finite_sum.n_learned(x) == pytest.approx(n)
    assert finite_sum.loss(x) == pytest.approx(loss, rel=1e-6)
    law = fit_law(finite_sum, x, loss, (x[0], x[-1]))
    slopes = finite_slopes(problem.tasks, problem.alpha, first, last)
    slope = slopes.over_number if axis == "N" else slopes.over_frequency
    assert law.measured == pytest.approx(slope, rel=1e-6)
    assert law.predicted == pytest.approx(slope, rel=1e-6)
    assert law.agrees
    assert law.n_learned == pytest.approx((first, last))
    # The line passes through the mean of the points.
    middle = np.exp(law.intercept + law.measured * np.log(x))
    assert np.log(middle).mean() == pytest.approx(np.log(loss).mean())


@settings(max_examples=30)
@given(problems, st.floats(10, 1e4), st.integers(3, 30))
def test_convergence_steps_determine_tau(problem: Problem, tau: float, converged: int) -> None:
    converged = min(converged, problem.tasks - 1)
    p = problem.frequencies()
    when = np.maximum(np.round(tau / p), 1).astype(np.int64)
    when[converged:] = -1
    steps = np.unique(np.geomspace(1, when.max() * 2, 200).round()).astype(np.int64)
    loss = FiniteSum(problem, "S", tau).loss(steps.astype(float))
    law = steps_law(problem, steps, np.maximum(loss, 1e-9), np.stack([when, when]))
    assert law.scale == pytest.approx(tau, rel=0.03)
    assert law.window[0] >= when[0]
    assert law.window[1] <= when[converged - 1]
    assert law.measured == pytest.approx(law.predicted, rel=0.05)


@settings(max_examples=30)
@given(problems, st.floats(2, 50), st.sampled_from(["N", "D"]))
def test_constants_of_width_and_data_are_accurate_to_a_subtask(
    problem: Problem, scale: float, axis: str
) -> None:
    finite_sum = FiniteSum(problem, axis, scale)  # type: ignore[arg-type]
    n = np.array([1.5, 2.7, 4.4, 6.3])
    x = scale * n if axis == "N" else scale * n ** (problem.alpha + 1) / problem.frequencies()[0]
    x = np.round(x * 1000) / 1000
    fit = width_law if axis == "N" else data_law
    whole = np.round(x).astype(np.int64)
    assume(len(np.unique(whole)) == 4)
    learned = np.floor(finite_sum.n_learned(whole.astype(float))).astype(np.int64)
    loss = finite_sum.loss(whole.astype(float))
    assume(((loss < 0.95).sum() >= 3) and (learned > 0).any())
    law = fit(problem, whole, loss, learned)
    span = (learned + 1) / np.maximum(learned, 0.5)
    bound = span.max() ** (1 if axis == "N" else problem.alpha + 1)
    assert 1 / bound <= law.scale / scale <= bound
    assert (law.limit == -problem.alpha) == (axis == "N")


def test_the_published_finite_slopes_of_thirty_tasks() -> None:
    problem = Problem(tasks=30, alpha=0.4)
    x = np.arange(2.0, 21)
    law = fit_law(FiniteSum(problem, "N", 1.0), x, FiniteSum(problem, "N", 1.0).loss(x))
    assert law.predicted == pytest.approx(-1.00, abs=0.005)
    assert law.limit == -0.4
    twice = fit_law(FiniteSum(problem, "N", 1.0), x, x**-1.5)
    assert twice.ratio == pytest.approx(1.5, abs=0.01)
    assert not twice.agrees


def test_networks_that_learned_all_or_nothing_are_excluded() -> None:
    problem = Problem(tasks=5)
    widths = np.array([1, 2, 4, 8, 16, 400])
    loss = np.array([1.0, 0.99, 0.6, 0.4, 0.3, 1e-4])
    law = width_law(problem, widths, loss, np.array([0, 0, 1, 1, 2, 5]))
    assert law.window == (4, 16)
    assert law.n_points == 3


@pytest.mark.parametrize(
    ("loss", "learned", "message"),
    [
        ([1.0, 1.0, 1.0, 1.0], [0, 0, 0, 0], "no network has learned"),
        ([1.0, 1.0, 1.0, 1.0], [1, 0, 0, 0], "no loss is below"),
        ([1.0, 1.0, 0.5, 0.4], [0, 0, 1, 1], "distinct points in the window: 2;"),
    ],
)
def test_too_few_points_give_no_slope(loss: list[float], learned: list[int], message: str) -> None:
    widths = np.array([2, 4, 8, 16])
    with pytest.raises(TooFewPointsError, match=message):
        width_law(Problem(), widths, np.array(loss), np.array(learned))
    with pytest.raises(TooFewPointsError, match="converged subtasks: 2;"):
        steps_law(Problem(), widths, np.array(loss), np.array([[5, 6] + 28 * [-1]]))
