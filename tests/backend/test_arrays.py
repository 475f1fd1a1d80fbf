"""Arrays in SQL come back as they were, or not at all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from backend.errors import StoreError
from backend.store import arrays

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6)
STORED = st.sampled_from(sorted(arrays.STORED_DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), SHAPES)
)


def row_of(array: NDArray[Any]) -> Any:
    return SimpleNamespace(**arrays.columns(array))


@given(array=STORED)
def test_any_array_comes_back_bit_for_bit(array: NDArray[Any]) -> None:
    back = arrays.read(row_of(array), "an array")
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(array=STORED)
def test_byte_order_and_strides_in_memory_do_not_matter(array: NDArray[Any]) -> None:
    swapped = array.astype(array.dtype.newbyteorder(">"))
    assert arrays.columns(np.asfortranarray(swapped)) == arrays.columns(array)


def test_what_is_read_cannot_be_changed() -> None:
    back = arrays.read(row_of(np.arange(3)), "an array")
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1


@given(array=STORED.filter(lambda a: a.size > 0), data=st.data())
def test_any_flipped_bit_is_noticed(array: NDArray[Any], data: st.DataObject) -> None:
    row = row_of(array)
    bit = data.draw(st.integers(0, 8 * len(row.data) - 1))
    flipped = bytearray(row.data)
    flipped[bit // 8] ^= 1 << bit % 8
    row.data = bytes(flipped)
    with pytest.raises(StoreError, match="of a matrix does not match its checksum"):
        arrays.read(row, "a matrix")


@pytest.mark.parametrize("change", [{"dtype": "int32"}, {"shape": [3, 2]}, {"data": b"\0" * 23}])
def test_bytes_read_as_something_else_are_refused(change: dict[str, Any]) -> None:
    row = row_of(np.zeros((2, 3), np.float32))
    vars(row).update(change)
    with pytest.raises(StoreError):
        arrays.read(row, "a matrix")


@pytest.mark.parametrize("dtype", ["complex64", "bool", "object", "<U3"])
def test_a_dtype_that_the_store_does_not_use_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match="is not stored"):
        arrays.columns(np.zeros(2, dtype))


LOSSES = st.floats(0, arrays.MAX_LOSS_NATS, width=32, exclude_max=True)


@given(losses=hnp.arrays(np.float32, st.integers(0, 50), elements=LOSSES))
def test_stored_losses_are_within_the_promised_bound(losses: NDArray[np.float32]) -> None:
    stored = arrays.stored_losses(losses)
    assert stored.dtype == np.float16
    error = np.abs(stored.astype(np.float64) - losses)
    assert (error <= np.maximum(1e-3, 5e-4 * losses)).all()


def test_a_stored_zero_has_no_sign() -> None:
    stored = arrays.stored_losses(np.array([-0.0, 0.0, 1.0], np.float32))
    assert not np.signbit(stored).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-3, 60_000.0, 1e30])
def test_a_loss_that_is_no_measurement_is_refused_by_its_number(value: float) -> None:
    losses = np.array([1.0, 2.0, value], np.float32)
    with pytest.raises(ValueError, match="loss 2 is"):
        arrays.stored_losses(losses)
