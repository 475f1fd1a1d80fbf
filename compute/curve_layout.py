"""Curves in blocks: the points of a block one after the other, each for `BLOCK` curves.

One instruction then works on the same point of many curves. Rows are predictions, columns points
of the axis; losses are float16, nats, as the store keeps them.
"""

import numpy as np
from jaxtyping import Float16

# Measured: longer ones pay off for all curves, shorter ones where a filter leaves few.
BLOCK = 128
_BLOCKS_AT_ONCE = 2_048


def block_shape(n_rows: int, n_points: int) -> tuple[int, int, int]:
    """Shape of the array that holds curves in blocks."""
    return (-(-n_rows // BLOCK), n_points, BLOCK)


def fill_blocks(
    curves: Float16[np.ndarray, "rows points"], blocks: Float16[np.ndarray, "blocks points width"]
) -> None:
    """Write curves into blocks, in order; what is left of the last block becomes NaN.

    Args:
        curves: losses in nats, >= 0.
        blocks: of `block_shape`.

    Raises:
        ValueError: a loss is negative or not a number; the bounds of the search need losses.
    """
    for first in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part = curves[first * BLOCK : (first + _BLOCKS_AT_ONCE) * BLOCK]
        # Bits beyond those of infinity are NaN or have a sign.
        bits = np.ascontiguousarray(part).view(np.uint16)
        beyond = bits >= _INFINITY
        if beyond.any():
            if (bits[beyond] != _MINUS_ZERO).any():
                raise ValueError("a loss is negative or not finite; search wants finite, >= 0")
            part = np.abs(part)
        n_blocks = -(-len(part) // BLOCK)
        padded = np.full((n_blocks * BLOCK, part.shape[1]), np.nan, np.float16)
        padded[: len(part)] = part
        blocks[first : first + n_blocks] = padded.reshape(n_blocks, BLOCK, -1).transpose(0, 2, 1)


_INFINITY = np.array(np.inf, np.float16).view(np.uint16)
_MINUS_ZERO = np.array(-0.0, np.float16).view(np.uint16)
