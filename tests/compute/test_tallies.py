"""Sums of chunks equal loops, and chunks add up exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compute.tallies import (
    BINS_PER_NAT,
    N_BINS,
    class_sums,
    coarser_histogram,
    loss_histogram,
    masked_sums,
    unit_sums,
)

LOSSES = hnp.arrays(
    np.float16,
    st.tuples(st.integers(1, 40), st.integers(1, 4)),
    elements=st.floats(0, 40, width=16),
)


@settings(deadline=None)
@given(LOSSES)
def test_a_bin_holds_the_losses_between_its_edges(losses: NDArray[np.float16]) -> None:
    counts = loss_histogram(losses)
    for point, column in enumerate(losses.T):
        expected = np.zeros(N_BINS, int)
        for loss in column.tolist():
            expected[min(int(loss * BINS_PER_NAT), N_BINS - 1)] += 1
        np.testing.assert_array_equal(counts[point], expected)


@settings(deadline=None)
@given(LOSSES, st.sampled_from([1, 4, 8, 128]), st.integers(1, 24))
def test_wider_bins_hold_what_numpy_counts(
    losses: NDArray[np.float16], per_nat: int, top: int
) -> None:
    coarse = coarser_histogram(loss_histogram(losses), per_nat, top)
    edges = np.append(np.arange(0, top * per_nat + 1) / per_nat, np.inf)
    for point, column in enumerate(losses.T):
        expected, _ = np.histogram(column.astype(np.float64), edges)
        np.testing.assert_array_equal(coarse[point], expected)


@pytest.mark.parametrize(("per_nat", "top"), [(3, 10), (8, 25), (8, 0)])
def test_bins_that_would_be_cut_are_refused(per_nat: int, top: int) -> None:
    with pytest.raises(ValueError, match="bins per nat"):
        coarser_histogram(np.zeros((1, N_BINS), np.int64), per_nat, top)


@settings(deadline=None)
@given(LOSSES, st.data())
def test_sums_by_class_are_those_of_a_loop_and_classes_sum_to_all(
    losses: NDArray[np.float16], data: st.DataObject
) -> None:
    classes = data.draw(hnp.arrays(np.uint8, len(losses), elements=st.sampled_from([0, 1, 2, 255])))
    sums = class_sums(losses, classes, 3)
    for code in range(3):
        rows = [row for row, c in zip(losses.tolist(), classes, strict=True) if c == code]
        assert sums[code, 0] == len(rows)
        assert sums[code, 1:].tolist() == [sum(column) for column in zip(*rows, strict=True)] or (
            not rows and not sums[code].any()
        )
    defined = losses[classes < 3].astype(np.float64)
    np.testing.assert_array_equal(sums[:, 1:].sum(axis=0), defined.sum(axis=0))


@settings(deadline=None)
@given(LOSSES, st.data())
def test_sums_of_units_and_masks_are_those_of_slices(
    losses: NDArray[np.float16], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(losses) - 1, 1)), max_size=5)))
    ends = [cut for cut in cuts if cut < len(losses)] + [len(losses)]
    sizes = np.diff([0, *ends])
    exact = losses.astype(np.float64)
    for row, (low, high) in zip(
        unit_sums(losses, sizes), zip([0, *ends], ends, strict=False), strict=True
    ):
        assert row.tolist() == [high - low, *exact[low:high].sum(axis=0)]
    mask = data.draw(hnp.arrays(np.bool_, len(losses)))
    assert masked_sums(losses, mask).tolist() == [mask.sum(), *exact[mask].sum(axis=0)]


def test_chunks_add_up_to_the_whole_without_rounding() -> None:
    losses = np.random.default_rng(0).gamma(2, 2, (50_000, 3)).astype(np.float16)
    classes = np.random.default_rng(1).integers(0, 8, 50_000).astype(np.uint8)
    parts = np.array_split(np.arange(50_000), 7)
    total, added = (
        class_sums(losses, classes, 8),
        sum(class_sums(losses[part], classes[part], 8) for part in parts),
    )
    np.testing.assert_array_equal(total, added)


def test_sizes_that_leave_predictions_out_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 3"):
        unit_sums(np.ones((4, 2), np.float16), np.array([1, 2]))
