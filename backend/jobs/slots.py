"""Stable names for workers: recovery finds a dead worker's jobs by its name.

A worker holds the lock of its slot's file for as long as it lives; the operating system lets go of
it however the worker ends, so a lock that can be had means that nobody works under that name.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import QuantaError

MAX_SLOTS = 16


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class Slot:
    """One worker's name on this machine, held until the process ends."""

    def __init__(self, folder: Path, device: str, number: int, descriptor: int) -> None:
        self.folder = folder
        self.device = device
        self.number = number
        self._descriptor = descriptor

    @property
    def executor_id(self) -> str:
        """The worker's stable name."""
        return executor_id(self.device, self.number)

    @contextmanager
    def abandoned(self) -> Iterator[list[str]]:
        """Yield names of workers that have ended, which cannot come back inside the block."""
        held = []
        for number in range(MAX_SLOTS):
            path = _path(self.folder, self.device, number)
            if number == self.number or not path.exists():
                continue
            if (descriptor := _lock(path)) is not None:
                held.append((number, descriptor))
        try:
            yield [executor_id(self.device, number) for number, _ in held]
        finally:
            for _, descriptor in held:
                os.close(descriptor)


def executor_id(device: str, number: int) -> str:
    """Return the stable name of a worker of this machine."""
    return f"{socket.gethostname()}:{device}:{number}"


def _path(folder: Path, device: str, number: int) -> Path:
    return folder / f"worker-{socket.gethostname()}-{device}-{number}.lock"


def take(folder: Path, device: str) -> Slot:
    """Take the first free name.

    Raises:
        QuantaError: all are taken.
    """
    for number in range(MAX_SLOTS):
        descriptor = _lock(_path(folder, device, number))
        if descriptor is not None:
            return Slot(folder, device, number, descriptor)
    raise QuantaError(f"{MAX_SLOTS} workers run on {folder} already", "End one of them first")


def busy(folder: Path) -> bool:
    """Return whether any worker of this machine lives."""
    for path in folder.glob("worker-*.lock"):
        descriptor = _lock(path)
        if descriptor is None:
            return True
        os.close(descriptor)
    return False
