"""Stripes of cosines: the same matrix for any stripe size, resume or memory limit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from compute.similarity import cosine_stripes, normalize_rows
from compute.similarity_stripes import n_stripes, rows_per_stripe, write_stripe
from tests.compute.cosine_matrix import cosine_matrix


def rows_of(size: int, n_parameters: int, seed: int) -> Tensor:
    """Rows of very different norms, some of them nearly parallel."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(size, n_parameters, generator=generator)
    rows[1::3] = rows[:1] + 1e-3 * rows[1::3]
    return rows * torch.logspace(-4, 4, size)[:, None]


def dense_cosine(rows: Tensor) -> NDArray[np.float64]:
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    return (unit @ unit.T).numpy()


SHAPES = {
    "size": st.integers(1, 40),
    "stripe_rows": st.integers(1, 16),
    "seed": st.integers(0, 2**16),
}


@settings(deadline=None)
@given(**SHAPES, n_parameters=st.integers(1, 300))
def test_stripes_are_the_dense_cosine_matrix(
    size: int, stripe_rows: int, seed: int, n_parameters: int
) -> None:
    rows = rows_of(size, n_parameters, seed)
    matrix = cosine_matrix(rows, stripe_rows)
    assert np.abs(matrix - dense_cosine(rows)).max() <= 1e-6
    assert np.array_equal(matrix, matrix.T)
    assert np.array_equal(matrix.diagonal(), np.ones(size, np.float32))


def test_cosines_of_long_gradients_are_exact_too() -> None:
    rows = rows_of(64, 100_000, seed=0)
    assert np.abs(cosine_matrix(rows, 32) - dense_cosine(rows)).max() <= 1e-6


@settings(deadline=None)
@given(**SHAPES, data=st.data(), blocks_in_memory=st.integers(0, 6))
def test_resumed_stripes_equal_an_uninterrupted_run_bit_for_bit(
    size: int, stripe_rows: int, seed: int, data: st.DataObject, blocks_in_memory: int
) -> None:
    rows = rows_of(size, 200, seed)
    count = n_stripes(size, stripe_rows)
    uninterrupted = dict(cosine_stripes(lambda a, b: rows[a:b], size, stripe_rows=stripe_rows))
    done = data.draw(st.frozensets(st.integers(0, count - 1)))
    resumed = dict(
        cosine_stripes(
            lambda a, b: rows[a:b],
            size,
            done=done,
            stripe_rows=stripe_rows,
            blocks_in_memory=blocks_in_memory,
        )
    )
    assert resumed.keys() == uninterrupted.keys() - done
    for stripe, values in resumed.items():
        assert np.array_equal(values, uninterrupted[stripe])


def test_no_more_blocks_are_cached_than_allowed() -> None:
    rows = rows_of(40, 20, seed=0)
    computed: list[int] = []

    def gradients(first: int, last: int) -> Tensor:
        computed.append(first)
        return rows[first:last]

    list(cosine_stripes(gradients, 40, stripe_rows=10))
    assert sorted(computed) == [0, 10, 20, 30]
    computed.clear()
    list(cosine_stripes(gradients, 40, stripe_rows=10, blocks_in_memory=1))
    # The last block is cached; the others are computed for every stripe that needs them.
    assert computed.count(30) == 1
    assert [computed.count(first) for first in (0, 10, 20)] == [1, 2, 3]


def test_finished_stripes_compute_no_gradients() -> None:
    def gradients(first: int, last: int) -> Tensor:
        raise AssertionError(f"rows {first} to {last} were computed")

    assert list(cosine_stripes(gradients, 20, done=frozenset({0, 1}), stripe_rows=10)) == []


def test_cosines_are_clamped_so_that_arccos_is_finite() -> None:
    rows = torch.randn(64, 999, generator=torch.Generator().manual_seed(0))
    unit = normalize_rows(rows)
    assert (unit @ unit.T).max() > 1  # rounding alone exceeds 1
    for _, values in cosine_stripes(lambda a, b: rows[a:b], 64, stripe_rows=64):
        assert values.max() <= 1
        assert np.isfinite(np.arccos(values)).all()


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_row_without_direction_is_named(value: float) -> None:
    rows = torch.ones(4, 3)
    rows[2] = value
    with pytest.raises(ValueError, match=r"gradients\[2\] has norm"):
        normalize_rows(rows)


@pytest.mark.parametrize(("shape", "first"), [((10, 20), 10), ((10, 9), 10), ((10, 1), 19)])
def test_a_stripe_in_the_wrong_place_is_refused(shape: tuple[int, int], first: int) -> None:
    with pytest.raises(ValueError, match=f"at row {first} does not fit 20 rows"):
        write_stripe(np.zeros((20, 20), np.float32), np.ones(shape, np.float32), first)


def test_stripes_of_large_models_have_fewer_rows() -> None:
    assert rows_per_stripe(334_368) == 256
    assert rows_per_stripe(18_915_328) * 18_915_328 * 4 <= 2 << 30
    assert rows_per_stripe(18_915_328) == 28
    assert rows_per_stripe(10**11) == 8
