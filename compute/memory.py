"""Batches that do not fit into memory are halved, and the work goes on.

A smaller batch changes results by rounding only; what was used is returned, to be recorded.
"""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from compute.losses import BATCH_SIZES, BatchSizes

Result = TypeVar("Result")

# Of the usual batch; below it, it is the model that does not fit.
MIN_BATCH_SHARE = 1 / 64
# How torch's allocators for a CPU say it: as a plain RuntimeError.
_SAID = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)


def halve_until_fits(run: Callable[[float], Result], share: float = 1.0) -> tuple[Result, float]:
    """Return (what `run` returns, the share of the usual batch that it was given).

    Args:
        run: computes with a share of the usual batch.
        share: to begin with; halved for as long as memory runs out.

    Raises:
        MemoryError: even the smallest batch does not fit.
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
        # The failed attempt's tensors hang on its traceback, which has ended by now.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def scaled_batch_sizes(device: str, share: float) -> BatchSizes:
    """Return a device's batch sizes, times a share."""
    usual = BATCH_SIZES[torch.device(device).type]
    return replace(
        usual,
        tokens=max(1, int(usual.tokens * share)),
        logits_bytes=max(1, int(usual.logits_bytes * share)),
    )
