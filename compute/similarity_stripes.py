"""A symmetric matrix of cosines in stripes: blocks of rows against themselves and all later rows.

Stripes together are the upper triangle. numpy only, so that a server can put them together.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

STRIPE_ROWS = 256
MIN_STRIPE_ROWS = 8
BLOCK_BYTES = 2 << 30  # of one block of float32 gradient rows


def rows_per_stripe(n_parameters: int) -> int:
    """Return how many rows a stripe has: 256, fewer if their gradients pass 2 GiB.

    Depends on the model alone, so that a similarity has the same stripes on every machine.
    """
    return max(MIN_STRIPE_ROWS, min(STRIPE_ROWS, BLOCK_BYTES // (4 * max(1, n_parameters))))


def n_stripes(size: int, stripe_rows: int = STRIPE_ROWS) -> int:
    """Return the number of stripes of a `size` x `size` matrix."""
    return -(-size // stripe_rows)


def write_stripe(
    matrix: Float[np.ndarray, "size size"], stripe: Float[np.ndarray, "rows columns"], first: int
) -> None:
    """Write the stripe that begins at row `first`, and its mirror image, into `matrix`."""
    last = first + len(stripe)
    square = stripe[:, : len(stripe)]
    matrix[first:last, first:] = stripe
    matrix[first:, first:last] = stripe.T
    # Within a diagonal tile a product need not round symmetrically, nor to 1 on the diagonal.
    matrix[first:last, first:last] = (square + square.T) / 2
    np.fill_diagonal(matrix[first:last, first:last], 1)


def assemble_stripes(
    stripes: Sequence[Float[np.ndarray, "_rows _columns"]], size: int
) -> Float[np.ndarray, "size size"]:
    """Return the full matrix of stripes 0, 1, 2, ….

    Raises:
        ValueError: the stripes do not make up `size` rows.
    """
    matrix = np.empty((size, size), np.float32)
    first = 0
    for stripe in stripes:
        write_stripe(matrix, stripe, first)
        first += len(stripe)
    if first != size:
        raise ValueError(f"stripes hold {first} rows, want {size}; pass all of them, in order")
    return matrix
