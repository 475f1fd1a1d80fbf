"""Arrays in SQL: one array, one row, little-endian and checksummed.

The checksum covers dtype, shape and bytes, so that a row that was cut short, or read with the
wrong type, is refused instead of shown.
"""

import hashlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.errors import StoreError

STORED_DTYPES = frozenset(
    {
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "uint32",
        "int64",
        "float16",
        "float32",
        "float64",
    }
)
# float16 tops out at 65,504 nats; a loss beyond this bound is a broken model, not a measurement.
MAX_LOSS_NATS = 60_000.0


class ArrayRow(Protocol):
    """Any row with `ArrayColumns`."""

    dtype: Any
    shape: Any
    checksum: Any
    data: Any


def _checksum(dtype: str, shape: list[int], data: bytes) -> str:
    digest = hashlib.blake2b(f"{dtype}{shape}".encode(), digest_size=16)
    digest.update(data)
    return digest.hexdigest()


def columns(array: NDArray[Any]) -> dict[str, Any]:
    """Return the column values that hold `array`.

    Raises:
        ValueError: a dtype that the store does not use.
    """
    dtype = array.dtype.name
    if dtype not in STORED_DTYPES:
        raise ValueError(f"dtype {dtype} is not stored; convert to one of {sorted(STORED_DTYPES)}")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    shape = list(array.shape)
    return {
        "dtype": dtype,
        "shape": shape,
        "checksum": _checksum(dtype, shape, data),
        "data": data,
    }


def read(row: ArrayRow, what: str) -> NDArray[Any]:
    """Return the array of a row, read-only.

    Raises:
        StoreError: the bytes are not those that were stored.
    """
    if _checksum(row.dtype, row.shape, row.data) != row.checksum:
        raise StoreError(
            f"the stored array of {what} does not match its checksum",
            "The database file is damaged: restore it from a backup",
        )
    flat = np.frombuffer(row.data, np.dtype(row.dtype).newbyteorder("<"))
    return flat.reshape(row.shape)


def stored_losses(losses_nats: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return losses as the store keeps them: float16, |error| <= max(1e-3 nats, 5e-4 x loss).

    Raises:
        ValueError: a loss is not finite, negative, or beyond what float16 holds.
    """
    bad = ~(np.isfinite(losses_nats) & (losses_nats >= 0) & (losses_nats < MAX_LOSS_NATS))
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"loss {index} is {losses_nats.flat[index]}, want finite, >= 0 and < {MAX_LOSS_NATS:g} "
            "nats; check the checkpoint's weights"
        )
    return np.abs(losses_nats.astype(np.float16))  # zeros have no sign
