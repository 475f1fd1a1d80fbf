"""Block layout of curves: each block holds `BLOCK` curves, stored point by point.

One SIMD instruction then works on the same point of many curves. Rows are predictions, columns
points of the axis; losses are float16 in nats, as stored.
"""

import numpy as np
from jaxtyping import Float16

# Measured: longer blocks are faster without a filter, shorter ones with a selective filter.
BLOCK = 128
_BLOCKS_AT_ONCE = 2_048


def block_shape(n_rows: int, n_points: int) -> tuple[int, int, int]:
    """Return the shape of an array of blocks."""
    return (-(-n_rows // BLOCK), n_points, BLOCK)


def fill_blocks(
    curves: Float16[np.ndarray, "rows points"], blocks: Float16[np.ndarray, "blocks points width"]
) -> None:
    """Write curves into blocks, in order; the last block is padded with NaN.

    Args:
        curves: losses in nats, >= 0.
        blocks: of `block_shape`.

    Raises:
        ValueError: a loss is negative or not finite; the bounds of the search need finite losses.
    """
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part = curves[first * BLOCK : (first + _BLOCKS_AT_ONCE) * BLOCK]
        # Bits above those of infinity are NaN or have a sign.
        bits = np.ascontiguousarray(part).view(np.uint16)
        beyond = bits >= _INFINITY
        if beyond.any():
            if (bits[beyond] != _MINUS_ZERO).any():
                raise ValueError("a loss is negative or not finite; want finite losses >= 0")
            part = np.abs(part)
        n_blocks = -(-len(part) // BLOCK)
        padded = np.full((n_blocks * BLOCK, part.shape[1]), np.nan, np.float16)
        padded[: len(part)] = part
        blocks[first : first + n_blocks] = padded.reshape(n_blocks, BLOCK, -1).transpose(0, 2, 1)


_INFINITY = np.array(np.inf, np.float16).view(np.uint16)
_MINUS_ZERO = np.array(-0.0, np.float16).view(np.uint16)
