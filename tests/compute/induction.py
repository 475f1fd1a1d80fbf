"""Slow reference of the induction filter."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def reference_induction_mask(tokens: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which predictions of one document induction explains, trigram by trigram."""
    ids = tokens.tolist()
    previous: set[tuple[int, ...]] = set()
    explained = np.zeros(max(len(ids) - 1, 0), bool)
    for position in range(2, len(ids)):
        trigram = tuple(ids[position - 2 : position + 1])
        explained[position - 1] = trigram in previous
        previous.add(trigram)
    return explained
