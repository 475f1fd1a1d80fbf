"""Whether a worker has a GPU, without loading the numerics library into it."""

import ctypes

from backend.settings import Settings


def has_cuda(settings: Settings) -> bool:
    """Return whether a worker with these settings computes on CUDA.

    Asks the driver's library: the worker itself stays small, only its child loads torch.
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
