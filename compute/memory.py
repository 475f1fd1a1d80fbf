"""Batch sizes that fit into memory: halve the batch and retry after an out-of-memory error.

A smaller batch changes results by rounding only; callers record the share that was used.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from compute.losses import BATCH_SIZES, BatchSizes

Result = TypeVar("Result")

# Share of the usual batch size; if this does not fit, the model itself does not.
MIN_BATCH_SHARE = 1 / 64
# Messages of torch's CPU allocators, which raise a plain RuntimeError.
_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that a GPU or CPU is out of memory."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)


def halve_until_fits(run: Callable[[float], Result], share: float = 1.0) -> tuple[Result, float]:
    """Call `run` with a share of the usual batch size, halved until it fits into memory.

    Args:
        run: computation with a share of the usual batch size.
        share: first share.

    Returns:
        The result of `run`, and the share that fitted.

    Raises:
        MemoryError: the smallest batch does not fit.
    """
    while True:
        try:
            return run(share), share
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if share / 2 < MIN_BATCH_SHARE:
                raise MemoryError(
                    f"a batch of {share:g} of the usual size does not fit into memory; choose a "
                    "smaller model, shorter documents or a device with more memory"
                ) from error
        share /= 2
        # The traceback, which ended above, referred to the tensors of the failed attempt.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def scaled_batch_sizes(device: str, share: float) -> BatchSizes:
    """Return a share of a device's usual batch sizes, at least 1."""
    usual = BATCH_SIZES[torch.device(device).type]
    return replace(
        usual,
        tokens=max(1, int(usual.tokens * share)),
        logits_bytes=max(1, int(usual.logits_bytes * share)),
    )
