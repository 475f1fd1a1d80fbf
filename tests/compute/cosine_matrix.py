"""The full cosine matrix of gradients that fit in memory."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compute.similarity import cosine_stripes
from compute.similarity_stripes import STRIPE_ROWS, write_stripe


def cosine_matrix(gradients: Tensor, stripe_rows: int = STRIPE_ROWS) -> NDArray[np.float32]:
    """Assemble the stripes of all rows."""
    size = len(gradients)
    matrix = np.full((size, size), np.nan, np.float32)
    stripes = cosine_stripes(lambda a, b: gradients[a:b], size, stripe_rows=stripe_rows)
    for stripe, values in stripes:
        write_stripe(matrix, values, stripe * stripe_rows)
    return matrix
