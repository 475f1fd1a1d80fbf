import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.rank_frequency import (
    PUBLISHED_THEORY_SLOPE,
    envelope_slope,
    rank_frequency,
    rank_frequency_envelope,
    theory_slope,
)

SIZES = st.dictionaries(
    st.integers(1, 50), st.lists(st.integers(1, 100), min_size=1, max_size=20), min_size=1
)


@given(SIZES)
def test_envelope_is_the_largest_size_at_each_rank(sizes: dict[int, list[int]]) -> None:
    envelope = rank_frequency_envelope(sizes)
    for rank in range(1, len(envelope) + 1):
        at_rank = [sorted(s, reverse=True)[rank - 1] for s in sizes.values() if len(s) >= rank]
        assert envelope[rank - 1] == max(at_rank)
    assert len(envelope) == max(map(len, sizes.values()))


@given(SIZES)
def test_envelope_never_rises_and_contains_every_curve(sizes: dict[int, list[int]]) -> None:
    curves = rank_frequency(sizes)
    assert (np.diff(curves.envelope) <= 0).all()
    assert list(curves.sizes) == sorted(sizes)
    for ordered in curves.sizes.values():
        assert (np.diff(ordered) <= 0).all()
        assert (ordered <= curves.envelope[: len(ordered)]).all()


def test_empty_clusters_take_no_rank() -> None:
    np.testing.assert_array_equal(rank_frequency_envelope({3: [0, 7, 2]}), [7, 2])


@pytest.mark.parametrize("slope", [-0.5, -1.083, -1.237, -2])
def test_slope_of_a_power_of_rank_is_recovered_with_ranks_from_one(slope: float) -> None:
    fit = envelope_slope(1e9 * np.arange(1, 1101.0) ** slope)
    assert fit.slope == pytest.approx(slope, abs=1e-10)
    assert fit.intercept == pytest.approx(np.log(1e9))
    assert (fit.first_rank, fit.last_rank, fit.n_points) == (101, 1000, 900)
    assert fit.comparable_to_published


def test_slope_equals_polyfit_over_the_printed_window() -> None:
    envelope = np.sort(np.random.default_rng(0).pareto(1, 300) * 20 + 1)[::-1].copy()
    fit = envelope_slope(envelope)
    ranks = np.arange(fit.first_rank, fit.last_rank + 1)
    expected = np.polyfit(np.log(ranks), np.log(envelope[ranks - 1]), 1)
    np.testing.assert_allclose([fit.slope, fit.intercept], expected, rtol=1e-9)
    assert fit.first_rank == 5
    assert envelope[fit.last_rank - 1] >= 5 > envelope[fit.last_rank]
    assert not fit.comparable_to_published


def test_the_fallback_window_ends_at_the_last_rank_of_size_five() -> None:
    fit = envelope_slope(np.array([100.0, 50, 30, 20, 10, 8, 6, 5, 5, 4]))
    assert (fit.first_rank, fit.last_rank) == (5, 9)


def test_only_the_published_window_is_comparable() -> None:
    envelope = 1e6 / np.arange(1, 1000.0)
    assert not envelope_slope(envelope).comparable_to_published  # ends at rank 999
    longer = 1e6 / np.arange(1, 1001.0)
    assert envelope_slope(longer).comparable_to_published
    assert envelope_slope(longer, (101, 1000)).comparable_to_published
    assert not envelope_slope(longer, (100, 1000)).comparable_to_published


def test_theory_slope_of_the_published_exponent_is_the_published_one() -> None:
    assert theory_slope(0.083) == pytest.approx(PUBLISHED_THEORY_SLOPE)


@pytest.mark.parametrize("window", [(1, 2), (0, 5), (1, 11), (6, 5)])
def test_a_window_of_too_few_ranks_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 3 ranks"):
        envelope_slope(np.arange(10.0, 0, -1), window)


def test_an_envelope_too_short_for_the_default_window_is_refused() -> None:
    with pytest.raises(ValueError, match="cluster more predictions"):
        envelope_slope(np.array([9.0, 8, 7, 6, 5, 5, 4]))


def test_nothing_to_rank_is_refused() -> None:
    for sizes in ({}, {3: [0, 0, 0]}):
        with pytest.raises(ValueError, match="no cluster sizes"):
            rank_frequency_envelope(sizes)
    with pytest.raises(ValueError, match="size of -1"):
        rank_frequency_envelope({2: [3, -1]})
