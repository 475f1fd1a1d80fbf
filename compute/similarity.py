"""Cosines between gradients, stripe by stripe, without holding all gradients if they do not fit.

Rows are cut into blocks of fixed size; a stripe is one block of rows against itself and all later
ones, so that stripes together are the upper triangle. What a stripe holds does not depend on which
stripes were computed before or on how much memory there was.
"""

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.similarity_stripes import STRIPE_ROWS, assemble_stripes, n_stripes

Gradients = Callable[[int, int], Float[Tensor, "rows parameters"]]


def normalize_rows(gradients: Float[Tensor, "rows parameters"]) -> Float[Tensor, "rows parameters"]:
    """Return rows scaled to norm 1.

    Raises:
        ValueError: a row is zero or not finite.
    """
    # Summed in float64: over 10^5 parameters a float32 norm is off by 1e-5.
    norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)
    unusable = ~(norms.isfinite() & (norms > 0))
    if unusable.any():
        row = int(unusable.nonzero()[0, 0])
        raise ValueError(f"gradients[{row}] has norm {norms[row]:g}, want finite and > 0; drop it")
    unit: Tensor = gradients / norms[:, None].to(gradients.dtype)
    return unit


class _Blocks:
    """Unit gradient blocks on demand; the last ones, which every stripe needs, stay in memory."""

    def __init__(self, gradients: Gradients, bounds: Sequence[tuple[int, int]], kept: int) -> None:
        self.gradients = gradients
        self.bounds = bounds
        self.first_kept = max(0, len(bounds) - kept)
        self.cache: dict[int, Tensor] = {}

    def __call__(self, block: int) -> Float[Tensor, "rows parameters"]:
        if block not in self.cache:
            unit = normalize_rows(self.gradients(*self.bounds[block]))
            if block < self.first_kept:
                return unit
            self.cache[block] = unit
        return self.cache[block]

    def drop(self, block: int) -> None:
        self.cache.pop(block, None)


def cosine_stripes(
    gradients: Gradients,
    size: int,
    *,
    done: Container[int] = frozenset(),
    stripe_rows: int = STRIPE_ROWS,
    blocks_in_memory: int = 1 << 30,
) -> Iterator[tuple[int, Float[np.ndarray, "rows columns"]]]:
    """Yield (stripe, cosines of its rows with all rows from its first on), float32 in [-1, 1].

    Args:
        gradients: returns the gradient rows first..last (exclusive), not normalised.
        size: number of rows.
        done: stripes to leave out; asked right before each is computed.
        stripe_rows: rows of a block.
        blocks_in_memory: how many unit blocks may be kept; at least two more are held for a while.

    Raises:
        ValueError: a row is zero or not finite.
    """
    count = n_stripes(size, stripe_rows)
    bounds = [(b * stripe_rows, min(size, (b + 1) * stripe_rows)) for b in range(count)]
    blocks = _Blocks(gradients, bounds, blocks_in_memory)
    for stripe in range(count):
        if stripe not in done:
            rows = blocks(stripe)
            # One product a tile, always of the same shapes: the result is the same after a resume.
            tiles = [rows @ (rows if b == stripe else blocks(b)).T for b in range(stripe, count)]
            yield stripe, torch.cat(tiles, dim=1).clamp(-1, 1).cpu().numpy()
        blocks.drop(stripe)


def cosine_matrix(
    gradients: Float[Tensor, "rows parameters"], stripe_rows: int = STRIPE_ROWS
) -> Float[np.ndarray, "rows rows"]:
    """Return the cosines between all rows of a matrix that fits in memory."""
    size = len(gradients)
    stripes = cosine_stripes(lambda a, b: gradients[a:b], size, stripe_rows=stripe_rows)
    return assemble_stripes([values for _, values in stripes], size)
