"""Compute devices, and the number of threads and processes to use on them."""

import os
from dataclasses import dataclass, replace

from backend.errors import InvalidInputError
from backend.settings import Settings

# A spawned evaluation process holds some 400 MB of libraries.
MAX_WORKERS = 16


@dataclass(frozen=True)
class Compute:
    """Device and parallelism of a computation.

    Attributes:
        device: "cpu" or "cuda".
        workers: evaluation processes of one thread each; 1 on a GPU.
        threads: number of threads of a stage that runs in one process.
        batch_share: share of the usual batch size; below 1 where memory is short.
    """

    device: str
    workers: int
    threads: int
    batch_share: float = 1.0

    def with_batch_share(self, batch_share: float) -> "Compute":
        """Return a copy with another share of the usual batch size."""
        return replace(self, batch_share=batch_share)


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve(settings: Settings, workers: int | None = None) -> Compute:
    """Return the configured device, with one evaluation process a core unless `workers` is given.

    Several single-threaded processes beat one with as many threads on models this small, and
    do not collapse when a core is busy.

    Raises:
        InvalidInputError: CUDA is configured but not available, or `workers` is out of range.
    """
    import torch

    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise InvalidInputError(f"workers is {workers}", f"Choose 1 to {MAX_WORKERS}", "workers")
    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise InvalidInputError(
            "QUANTA_DEVICE is cuda, but torch sees no CUDA device", "Use auto or cpu"
        )
    if available and settings.device != "cpu":
        return Compute("cuda", 1, cores())
    return Compute("cpu", workers or min(cores(), MAX_WORKERS), cores())
