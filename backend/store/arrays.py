"""Arrays in SQL: one array per row, little-endian, with a checksum.

The checksum covers dtype, shape and bytes, so that truncated or corrupt rows are refused.
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
# The largest float16 is 65,504; a loss beyond this bound comes from a broken model.
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
    """Return the column values of `array`.

    Raises:
        ValueError: the store does not support its dtype.
    """
    dtype = array.dtype.name
    if dtype not in STORED_DTYPES:
        raise ValueError(f"dtype {dtype} is not stored; convert to one of {sorted(STORED_DTYPES)}")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    shape = list(array.shape)
    return {"dtype": dtype, "shape": shape, "checksum": _checksum(dtype, shape, data), "data": data}


def read(row: ArrayRow, what: str) -> NDArray[Any]:
    """Return the array of a row, read-only.

    Raises:
        StoreError: the bytes do not match the checksum.
    """
    if _checksum(row.dtype, row.shape, row.data) != row.checksum:
        raise StoreError(
            f"the stored array of {what} does not match its checksum",
            "The database is damaged; restore a backup",
        )
    flat = np.frombuffer(row.data, np.dtype(row.dtype).newbyteorder("<"))
    return flat.reshape(row.shape)


def stored_losses(losses_nats: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return losses as float16, with |error| <= max(1e-3 nats, 5e-4 x loss).

    Raises:
        ValueError: a loss is not finite, negative, or too large for float16.
    """
    bad = ~(np.isfinite(losses_nats) & (losses_nats >= 0) & (losses_nats < MAX_LOSS_NATS))
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"loss {index} is {losses_nats.flat[index]}, want finite, >= 0 and < {MAX_LOSS_NATS:g} "
            "nats; check the checkpoint's weights"
        )
    return np.abs(losses_nats.astype(np.float16))  # -0.0 becomes 0.0
