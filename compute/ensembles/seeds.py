"""Random draws of a training step: independent of the other networks, and of earlier steps."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a network's draws at a step; independent of its initial parameters."""
    return int(np.random.SeedSequence([seed, step, 1]).generate_state(1, np.uint64)[0] >> 1)


def data_seed(seed: int) -> int:
    """Return the seed of data: a student of the same seed must not start as its teacher."""
    return int(np.random.SeedSequence([seed, 2]).generate_state(1, np.uint64)[0] >> 1)


class EpochSampler:
    """Batches of fixed samples, reshuffled every epoch, for each network of a stack."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)
        self._orders: list[Tensor | None] = [None] * len(self._seeds)

    def batch(self, network: int, step: int, count: int, size: int) -> Int[Tensor, " size"]:
        """Return the indices of a step's batch among `count` samples.

        The remainder of an epoch is dropped; fewer samples than a batch repeat.
        """
        epoch, part = divmod(step, max(1, count // size))
        order = self._orders[network]
        if part == 0 or order is None:
            generator = torch.Generator().manual_seed(step_seed(self._seeds[network], epoch))
            order = self._orders[network] = torch.randperm(count, generator=generator)
        return order[torch.arange(part * size, (part + 1) * size) % count]

    def select(self, networks: Sequence[int]) -> None:
        """Replace the networks by some of them."""
        self._seeds = [self._seeds[i] for i in networks]
        self._orders = [self._orders[i] for i in networks]
