"""Stripes of a symmetric similarity matrix: blocks of rows against themselves and all later rows.

All stripes form the upper triangle. numpy only, so that a server can assemble them without torch.
"""

import numpy as np
from jaxtyping import Float

STRIPE_ROWS = 256
MIN_STRIPE_ROWS = 8
BLOCK_BYTES = 2 << 30  # limit of one block of float32 gradient rows


def rows_per_stripe(n_parameters: int) -> int:
    """Return the number of rows of a stripe: 256, fewer if their gradients exceed 2 GiB.

    It depends on the model only, so that a similarity has the same stripes on every machine.
    """
    return max(MIN_STRIPE_ROWS, min(STRIPE_ROWS, BLOCK_BYTES // (4 * max(1, n_parameters))))


def n_stripes(size: int, stripe_rows: int = STRIPE_ROWS) -> int:
    """Return the number of stripes of a `size` x `size` matrix."""
    return -(-size // stripe_rows)


def write_stripe(
    matrix: Float[np.ndarray, "size size"], stripe: Float[np.ndarray, "rows columns"], first: int
) -> None:
    """Write the stripe that starts at row `first`, and its transpose, into `matrix`.

    Raises:
        ValueError: the stripe does not reach the last column.
    """
    last = first + len(stripe)
    if last > len(matrix) or stripe.shape[1] != len(matrix) - first:
        raise ValueError(
            f"a stripe of shape {stripe.shape} at row {first} does not fit {len(matrix)} rows"
        )
    square = stripe[:, : len(stripe)]
    matrix[first:last, first:] = stripe
    matrix[first:, first:last] = stripe.T
    # A product may round asymmetrically in a diagonal tile, and not to 1 on the diagonal.
    matrix[first:last, first:last] = (square + square.T) / 2
    np.fill_diagonal(matrix[first:last, first:last], 1)
