"""Spectra and progress measures of networks with constructed circuits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.grokking.fourier import (
    cross_entropy,
    embedding_gini,
    fourier_basis,
    frequency_energy_share,
    gini,
    neuron_frequencies,
    principal_plane,
    progress_measures,
    rotation_plane,
    spectrum,
    sum_directions,
)

P = 23
CODES = np.arange(P * P)
A, B = np.divmod(CODES, P)
TRAIN = np.random.default_rng(0).permutation(P * P)[:200]


def clock(frequencies: tuple[int, ...], scale: float = 20.0) -> np.ndarray:
    """Logits of a perfect clock."""
    off = (A + B)[:, None] - np.arange(P)
    return scale * sum(np.cos(2 * np.pi * k * off / P) for k in frequencies)  # type: ignore[return-value]


def circle(frequencies: tuple[int, ...], dim: int = 16) -> np.ndarray:
    rng, at = np.random.default_rng(1), 2 * np.pi * np.arange(P) / P
    waves = [f(k * at) for k in frequencies for f in (np.cos, np.sin)]
    plane, _ = np.linalg.qr(rng.normal(size=(dim, len(waves))))
    return np.stack(waves, axis=1) @ plane.T


@pytest.mark.parametrize("p", [3, 23, 113])
def test_the_basis_is_orthonormal(p: int) -> None:
    basis = fourier_basis(p)
    assert basis @ basis.T == pytest.approx(np.eye(p), abs=1e-12)


def test_the_spectrum_equals_the_discrete_fourier_transform() -> None:
    E = np.random.default_rng(0).normal(size=(P, 5))
    expected = (np.abs(np.fft.rfft(E, axis=0)) ** 2).sum(axis=1) / P
    expected[1:] *= 2
    assert spectrum(E) == pytest.approx(expected)
    assert spectrum(E).sum() == pytest.approx((E**2).sum())


def test_energy_share_of_constructed_frequencies() -> None:
    E = circle((3, 7))
    assert frequency_energy_share(E, (3, 7)) == pytest.approx(1)
    assert frequency_energy_share(E, (3,)) == pytest.approx(0.5)
    assert frequency_energy_share(E, ()) == 0
    assert embedding_gini(E) > 0.8 > embedding_gini(np.random.default_rng(0).normal(size=(P, 99)))


def test_neurons_have_the_frequencies_they_compute() -> None:
    rng = np.random.default_rng(2)
    a, b = A.reshape(P, P), B.reshape(P, P)
    activations = []
    for k in (2, 5):
        for _ in range(30):
            phases = rng.uniform(0, 2 * np.pi, 2)
            wave = np.cos(2 * np.pi * k * a / P + phases[0]) + np.cos(
                2 * np.pi * k * b / P + phases[1]
            )
            activations.append(3 + wave + 0.02 * rng.normal(size=(P, P)))
    activations.append(np.cos(2 * np.pi * 9 * a / P))
    activations.append(np.ones((P, P)))
    neurons = neuron_frequencies(np.stack(activations, axis=2), min_share=0.1)
    assert neurons.frequency.tolist() == [2] * 30 + [5] * 30 + [9, 0]
    assert neurons.share[:60].min() > 0.99
    assert neurons.share[61] == 0
    assert neurons.key == (2, 5)
    assert neuron_frequencies(np.stack(activations, axis=2), min_share=0.0).key == (2, 5, 9)


def test_key_frequencies_explain_a_perfect_clock() -> None:
    logits = clock((3, 7, 10))
    progress = progress_measures(logits, TRAIN, (3, 7, 10))
    assert progress.restricted_loss == pytest.approx(cross_entropy(logits, (A + B) % P), abs=1e-9)
    assert progress.restricted_loss < 0.01
    assert progress.excluded_loss == pytest.approx(np.log(P), abs=1e-9)
    assert progress.explained == pytest.approx(1)
    wrong = progress_measures(logits, TRAIN, (1, 2))
    assert wrong.restricted_loss == pytest.approx(np.log(P), abs=1e-9)
    assert wrong.explained == pytest.approx(0, abs=1e-12)


def test_the_clock_does_not_explain_memorised_logits() -> None:
    logits = np.zeros((P * P, P))
    logits[TRAIN, ((A + B) % P)[TRAIN]] = 30
    progress = progress_measures(logits, TRAIN, (3, 7, 10))
    assert progress.excluded_loss < 0.01
    assert progress.restricted_loss > 1
    assert progress.explained < 0.2


def test_sum_directions_are_orthonormal_and_depend_on_the_sum_only() -> None:
    rows = sum_directions(P, (1, 4, 11))
    assert rows @ rows.T == pytest.approx(np.eye(6), abs=1e-12)
    same = (A + B) % P == 5
    assert np.ptp(rows[:, same], axis=1) == pytest.approx(np.zeros(6), abs=1e-12)
    assert sum_directions(P, ()).shape == (0, P * P)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_gini_is_the_mean_difference_over_twice_the_mean(values: list[float]) -> None:
    x = np.array(values)
    pairs = np.abs(x[:, None] - x).mean()
    expected = pairs / (2 * x.mean()) if x.mean() > 0 else 0
    assert gini(x) == pytest.approx(expected, abs=1e-9)


def test_planes_contain_the_circle() -> None:
    E = circle((4,)) + 5
    for plane in (principal_plane(E), (E - E.mean(axis=0)) @ rotation_plane(E, 4)):
        radius = np.linalg.norm(plane, axis=1)
        assert radius == pytest.approx(radius[0])
        turn = np.unwrap(np.arctan2(plane[:, 1], plane[:, 0]))
        assert np.abs(np.diff(turn)) == pytest.approx(2 * np.pi * 4 / P)


def test_invalid_frequencies_are_rejected() -> None:
    with pytest.raises(ValueError, match="p = 10"):
        fourier_basis(10)
    with pytest.raises(ValueError, match="frequency 12"):
        rotation_plane(circle((4,)), 12)
