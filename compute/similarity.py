"""Cosine similarity of gradients, stripe by stripe, for gradients that may not fit in memory.

Rows are split into blocks of fixed size; a stripe holds the cosines of one block with itself and
all later blocks, so that all stripes form the upper triangle. The values of a stripe depend neither
on the stripes computed before nor on the available memory.
"""

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from compute.similarity_stripes import STRIPE_ROWS, n_stripes

Gradients = Callable[[int, int], Float[Tensor, "rows parameters"]]


def normalize_rows(gradients: Float[Tensor, "rows parameters"]) -> Float[Tensor, "rows parameters"]:
    """Scale rows to norm 1.

    Raises:
        ValueError: a row is zero or not finite.
    """
    # In float64: a float32 norm of 10^5 parameters has an error of 1e-5.
    norms = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64)
    unusable = ~(norms.isfinite() & (norms > 0))
    if unusable.any():
        row = int(unusable.nonzero()[0, 0])
        raise ValueError(f"gradients[{row}] has norm {norms[row]:g}, want finite and > 0; drop it")
    unit: Tensor = gradients / norms[:, None].to(gradients.dtype)
    return unit


class _Blocks:
    """Normalized gradient blocks on demand; caches the last ones, which every stripe needs."""

    def __init__(
        self, gradients: Gradients, bounds: Sequence[tuple[int, int]], n_cached: int
    ) -> None:
        self.gradients = gradients
        self.bounds = bounds
        self.first_cached = max(0, len(bounds) - n_cached)
        self.cache: dict[int, Tensor] = {}

    def __call__(self, block: int) -> Float[Tensor, "rows parameters"]:
        if block not in self.cache:
            unit = normalize_rows(self.gradients(*self.bounds[block]))
            if block < self.first_cached:
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
    """Yield (stripe, cosines of its rows with all rows from its first row), float32 in [-1, 1].

    Args:
        gradients: returns the gradient rows first..last (exclusive), not normalised.
        size: number of rows.
        done: stripes to skip; checked right before each is computed.
        stripe_rows: rows per block.
        blocks_in_memory: blocks to cache; up to two more exist at a time.

    Raises:
        ValueError: a row is zero or not finite.
    """
    count = n_stripes(size, stripe_rows)
    bounds = [(b * stripe_rows, min(size, (b + 1) * stripe_rows)) for b in range(count)]
    blocks = _Blocks(gradients, bounds, blocks_in_memory)
    for stripe in range(count):
        if stripe not in done:
            rows = blocks(stripe)
            # One product per tile, always of the same shape, so that a resume gives the same bits.
            tiles = [rows @ (rows if b == stripe else blocks(b)).T for b in range(stripe, count)]
            yield stripe, torch.cat(tiles, dim=1).clamp(-1, 1).cpu().numpy()
        blocks.drop(stripe)
