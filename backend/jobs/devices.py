"""Detection of a GPU without loading torch into the worker."""

import ctypes

from backend.settings import Settings


def has_cuda(settings: Settings) -> bool:
    """Return whether a worker with these settings computes on CUDA.

    Uses the driver's library, so that only the worker's child loads torch.
    """
    if settings.device == "cpu":
        return False
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return False
    return count.value > 0
