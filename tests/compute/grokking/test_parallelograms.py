"""Parallelograms and effective theory, against published numbers and closed forms."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from compute.grokking.parallelograms import (
    closed_mask,
    critical_fraction,
    effective_dynamics,
    ideal_accuracy,
    min_pairs_for_line,
    nullity,
    pairs,
    parallelograms,
    predicted_accuracy,
    rqi,
    time_scale,
    training_rows,
)

LINE = np.arange(10.0)[:, None]


def training_set(p: int, size: int, seed: int) -> np.ndarray:
    is_train = np.zeros(len(pairs(p)), bool)
    is_train[np.random.default_rng(seed).permutation(len(is_train))[:size]] = True
    return is_train


@pytest.mark.parametrize(("p", "count", "lambda3"), [(6, 13, 12), (10, 70, 30), (12, 125, 42)])
def test_counts_and_third_eigenvalues_equal_published_ones(
    p: int, count: int, lambda3: float
) -> None:
    P0 = parallelograms(p)
    assert len(P0.corners) == count
    full = time_scale(p, np.ones(len(pairs(p)), bool), 1e-3)
    assert full.lambda3 == pytest.approx(lambda3, rel=1e-12)
    assert full.steps == pytest.approx((p - 1) / (2e-3 * lambda3), rel=1e-12)


def test_parallelograms_are_all_quadruples_of_equal_sums() -> None:
    p = 7
    by_definition = {
        (i, j, m, n)
        for i, j, m, n in product(range(p), repeat=4)
        if i < j <= m < n and i + n == j + m
    }
    P0 = parallelograms(p)
    assert {tuple(row) for row in P0.corners.tolist()} == by_definition
    of = pairs(p)
    assert (of[P0.outer] == P0.corners[:, [0, 3]]).all()
    assert (of[P0.inner] == P0.corners[:, [1, 2]]).all()


def test_the_largest_eigenvalue_of_ten_numbers_equals_the_published_one() -> None:
    rows = parallelograms(10).rows(10)
    assert np.linalg.eigvalsh(rows.T @ rows)[-1] == pytest.approx(48.623, abs=5e-4)


@pytest.mark.parametrize(("size", "steps"), [(24, 11_100), (30, 2_000), (36, 810), (45, 333)])
def test_predicted_times_equal_published_medians(size: int, steps: float) -> None:
    times = [
        time_scale(10, training_set(10, size, seed), 1e-3).steps or np.inf for seed in range(1500)
    ]
    assert np.median(times) == pytest.approx(steps, rel=0.25 if size == 24 else 0.04)


def test_the_critical_fraction_equals_the_published_one() -> None:
    curve = critical_fraction(10, np.arange(15, 45), draws=4000, seed=0)
    assert curve.fraction == pytest.approx(0.41, abs=0.02)
    share = dict(zip(curve.sizes.tolist(), curve.share.tolist(), strict=True))
    published = {20: 0.175, 22: 0.427, 23: 0.580, 24: 0.709, 25: 0.803, 30: 0.981, 40: 1.0}
    for size, value in published.items():
        error = 4 * np.sqrt(value * (1 - value) * (1 / 4000 + 1 / 10_000)) + 0.005
        assert abs(share[size] - value) < error, size


def test_prefixes_of_an_order_force_a_line_from_its_minimum_size_on() -> None:
    order = np.random.default_rng(3).permutation(55)
    smallest = min_pairs_for_line(10, order)
    for size in range(1, 56):
        is_train = np.zeros(55, bool)
        is_train[order[:size]] = True
        assert (nullity(10, is_train) == 2) == (size >= smallest)


def test_sum_and_size_are_conserved_by_the_effective_dynamics() -> None:
    E = np.random.default_rng(1).uniform(-0.5, 0.5, (10, 2))
    run = effective_dynamics(E, training_set(10, 45, 0), np.linspace(0, 4, 30))
    size = (run.E**2).sum(axis=(1, 2))
    assert np.abs(size / size[0] - 1).max() < 1e-6
    assert np.abs(run.E.sum(axis=1)).max() < 1e-6 * np.sqrt(size[0])
    assert (np.diff(run.loss) <= 1e-12).all()
    assert run.loss[-1] < 1e-6 * run.loss[0]
    assert rqi(run.E)[-1] == 1


def effective_flow(p: int, E: np.ndarray, is_train: np.ndarray) -> np.ndarray:
    """Reference: dE/dt = (2 l0 / Z0^2) E - (2 / Z0) A^T A E, the gradient flow of the loss."""
    rows = training_rows(p, is_train)
    errors = rows @ E
    z0 = float((E**2).sum())
    down: np.ndarray = 2 * float((errors**2).sum()) / z0**2 * E - 2 / z0 * (rows.T @ errors)
    return down


@given(st.integers(0, 2**31 - 1), st.sampled_from([4, 7, 10]), st.integers(1, 3))
@settings(max_examples=25)
def test_effective_dynamics_solve_their_equation(seed: int, p: int, dim: int) -> None:
    """The closed form against the differential equation, integrated step by step."""
    rng = np.random.default_rng(seed)
    is_train = rng.random(len(pairs(p))) < 0.7
    E, times = rng.normal(size=(p, dim)), np.linspace(0, 3, 7)
    E -= E.mean(axis=0)

    def flow(_: float, flat: np.ndarray) -> np.ndarray:
        return effective_flow(p, flat.reshape(p, dim), is_train).ravel()

    slow = solve_ivp(flow, (0, 3), E.ravel(), t_eval=times, method="DOP853", rtol=1e-10, atol=1e-12)
    path = slow.y.T.reshape(-1, p, dim)
    size = (path**2).sum(axis=(1, 2))
    assert np.abs(size / size[0] - 1).max() < 1e-6
    assert np.abs(path.sum(axis=1)).max() < 1e-6 * np.sqrt(size[0])
    run = effective_dynamics(E, is_train, times)
    assert pytest.approx(path, abs=1e-7) == run.E


def test_effective_flow_is_the_negative_gradient_of_the_effective_loss() -> None:
    is_train, E = training_set(10, 30, 2), np.random.default_rng(2).normal(size=(10, 1))
    rows = parallelograms(10).rows(10)
    rows = rows[is_train[parallelograms(10).outer] & is_train[parallelograms(10).inner]]

    def loss(at: np.ndarray) -> float:
        return float(((rows @ at) ** 2).sum() / (at**2).sum())

    numeric = np.zeros_like(E)
    for k in range(10):
        step = np.zeros_like(E)
        step[k] = 1e-6
        numeric[k] = (loss(E + step) - loss(E - step)) / 2e-6
    assert effective_flow(10, E, is_train) == pytest.approx(-numeric, rel=1e-6, abs=1e-8)


def test_small_deviations_decay_at_the_rates_of_the_hessian() -> None:
    full = np.ones(55, bool)
    rows = parallelograms(10).rows(10)
    values, modes = np.linalg.eigh(rows.T @ rows)
    line = (LINE - LINE.mean()) / LINE.std(ddof=1)
    run = effective_dynamics(line + 1e-3 * modes[:, [2]], full, np.array([0.0, 0.05]))
    deviation = run.E @ np.eye(1) - line
    amplitude = np.abs(modes[:, 2] @ deviation[:, :, 0].T)
    assert amplitude[1] / amplitude[0] == pytest.approx(np.exp(-2 * values[2] / 9 * 0.05), rel=1e-3)


def test_a_line_closes_every_parallelogram_and_noise_few() -> None:
    assert rqi(LINE) == 1
    assert rqi(np.random.default_rng(0).normal(size=(200, 10, 3))).mean() < 0.05
    assert rqi(np.ones((10, 1))) == 0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(-100, 100))
def test_closed_parallelograms_do_not_depend_on_scale_or_translation(
    seed: int, scale: float, shift: float
) -> None:
    E = LINE + np.random.default_rng(seed).normal(size=(10, 1)) * 0.2
    near = np.abs((parallelograms(10).rows(10) @ ((E - E.mean()) / E.std(ddof=1))) ** 2 - 0.01)
    assume(near.min() > 1e-6)
    assert (closed_mask(E * scale + shift) == closed_mask(E)).all()


def test_predicted_accuracy_equals_its_definition() -> None:
    is_train, E = (
        training_set(10, 30, 5),
        LINE + np.random.default_rng(5).normal(size=(10, 1)) * 0.3,
    )
    of = [tuple(pair) for pair in pairs(10).tolist()]
    closed = closed_mask(E)
    n_explained = 0
    for index, (a, b) in enumerate(of):
        is_explained = bool(is_train[index])
        for i, j, m, n in parallelograms(10).corners[closed].tolist():
            for pair, other in (((i, n), (j, m)), ((j, m), (i, n))):
                is_explained |= pair == (a, b) and bool(is_train[of.index(other)])
        n_explained += is_explained
    assert predicted_accuracy(is_train, E) == pytest.approx(n_explained / 55)


def test_ideal_accuracy_is_bounded_by_the_accuracy_of_a_line() -> None:
    n_lines = 0
    for seed in range(20):
        is_train = training_set(10, 15 + seed, seed)
        ideal = ideal_accuracy(10, is_train)
        assert is_train.mean() <= ideal <= predicted_accuracy(is_train, LINE) + 1e-12
        if nullity(10, is_train) == 2:
            assert ideal == pytest.approx(predicted_accuracy(is_train, LINE))
            n_lines += 1
    assert 0 < n_lines < 20


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="p = 2"):
        parallelograms(2)
    with pytest.raises(ValueError, match="within 1 to 55"):
        critical_fraction(10, np.array([56]), 10, 0)
    with pytest.raises(ValueError, match="no spread"):
        effective_dynamics(np.ones((10, 1)), np.ones(55, bool), np.array([1.0]))
    with pytest.raises(ValueError, match="learning rate 0"):
        time_scale(10, np.ones(55, bool), 0.0)
