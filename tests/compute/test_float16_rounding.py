"""The fast rounding to float16 is numpy's, bit for bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compute.float16_rounding import round_to_float16


def check(values: np.ndarray) -> None:
    float16, float32 = round_to_float16(values)
    expected = np.abs(values).astype(np.float16)
    np.testing.assert_array_equal(float16.view(np.uint16), expected.view(np.uint16))
    np.testing.assert_array_equal(float32, expected.astype(np.float32))


def test_every_float16_value_and_every_midpoint() -> None:
    all_values = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (all_values[:-1] + all_values[1:]) / 2  # ties
    up = np.nextafter(between, np.float32(np.inf))
    down = np.nextafter(between, np.float32(0))
    for values in (all_values[:-1], between, up, down):
        check(values[None])


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.floats(0, 65_000, width=32),
    )
)
def test_any_values(values: np.ndarray) -> None:
    check(values)


def test_negative_zero_counts_as_zero() -> None:
    check(np.array([[-0.0, 0.0, 1.0]], np.float32))
