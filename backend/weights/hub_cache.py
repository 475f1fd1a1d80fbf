"""Local cache of weights from a hub: downloaded once, verified, evicted by a disk budget.

Layout under the root: `OWNER--NAME/COMMIT/` holds the files of a checkpoint, `COMMIT.json` their
metadata, `COMMIT.lock` the lock. It is shared while weights are read and exclusive while they are
downloaded or removed, so that no process evicts weights in use. The budget counts a checkpoint in
full from the start of its download.
"""

import fcntl
import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from backend.errors import InvalidInputError, NotReadyError, QuantaError
from backend.store.keys import files_key
from backend.weights.hub_download import Hub, StoppedError
from backend.weights.hub_locations import HubFile, HubLocation

GIGABYTE = 1_000_000_000
SPARE_BYTES = 64 << 20  # kept free on the disk
CONFIG = "config.json"
# In order of preference: a pattern of whole names, and whether the files are pickles.
WEIGHTS = (
    (re.compile(r"model\.safetensors"), False),
    (re.compile(r"model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)"), False),
    (re.compile(r"pytorch_model\.bin"), True),
    (re.compile(r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)"), True),
)
OnProgress = Callable[[int, int], None]  # (downloaded bytes, total bytes)


@dataclass(frozen=True)
class WeightsFolder:
    """A folder that `compute.checkpoints` can load, and the `files_key` of its files."""

    path: Path
    key: str


def select_files(files: dict[str, HubFile], what: str) -> tuple[list[HubFile], bool]:
    """Return (configuration and weights to download, whether the weights are pickles).

    Raises:
        InvalidInputError: the commit has no configuration, no weights, or files without a hash.
    """
    for pattern, is_pickled in WEIGHTS:
        names = [name for name in files if pattern.fullmatch(name)]
        if names and CONFIG in files:
            selected = [files[CONFIG], *(files[name] for name in sorted(names))]
            unhashed = [file.name for file in selected if not file.digest]
            if unhashed:
                break
            return selected, is_pickled
    raise InvalidInputError(
        f"{what} has no {CONFIG} with safetensors or .bin weights of a known hash",
        "Choose another revision: --step",
    )


def _lock(path: Path, mode: int) -> IO[bytes] | None:
    """Return the locked file, None if another process holds the lock and `mode` does not wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, mode)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


@dataclass(frozen=True)
class _Entry:
    folder: Path

    @property
    def metadata_file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".json")

    @property
    def lock_file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".lock")

    def metadata(self) -> dict[str, Any]:
        try:
            metadata = json.loads(self.metadata_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return metadata if isinstance(metadata, dict) else {}

    def write(self, **metadata: Any) -> None:
        unfinished = self.metadata_file.with_suffix(".part")
        unfinished.write_text(json.dumps(metadata), encoding="utf-8")
        os.replace(unfinished, self.metadata_file)

    @property
    def bytes_on_disk(self) -> int:
        if not self.folder.is_dir():
            return 0
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    @property
    def counted_bytes(self) -> int:
        return max(int(self.metadata().get("bytes", 0)), self.bytes_on_disk)

    @property
    def used_at(self) -> int:
        return self.metadata_file.stat().st_mtime_ns if self.metadata_file.exists() else 0

    def touch(self) -> None:
        # Explicit nanoseconds: the clock of the file system is too coarse to order quick uses.
        used_at = time.time_ns()
        os.utime(self.metadata_file, ns=(used_at, used_at))

    def remove(self) -> None:
        self.metadata_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class HubCache:
    """Cache of the checkpoints of one data directory, in all at most `budget_bytes`.

    `hub` creates the client of an endpoint; `verified` are entries that this process has verified.
    """

    root: Path
    budget_bytes: int
    hub: Callable[[str | None], Hub] = Hub
    verified: set[Path] = field(default_factory=set)

    def _entry(self, location: HubLocation) -> _Entry:
        return _Entry(self.root / location.repository.replace("/", "--") / location.commit)

    def _entries(self) -> list[_Entry]:
        folders = {f.with_suffix("") for f in self.root.glob("*/*.json")}
        folders |= {f for f in self.root.glob("*/*") if f.is_dir()}
        return [_Entry(folder) for folder in sorted(folders)]

    def is_cached(self, location: HubLocation) -> bool:
        """Return whether a checkpoint is downloaded and not evicted."""
        return bool(self._entry(location).metadata().get("key"))

    @contextmanager
    def open(
        self, location: HubLocation, on_progress: OnProgress = lambda n_bytes, total: None
    ) -> Iterator[WeightsFolder]:
        """Yield a checkpoint's folder, downloaded if necessary; it is locked during the block.

        Raises:
            NotFoundError: the hub does not have the checkpoint.
            InvalidInputError: its files cannot be used, or it is larger than the budget.
            NotReadyError: checkpoints in use leave no room for it.
            QuantaError: the hub fails, or the disk is full.
        """
        entry = self._entry(location)
        lock = _lock(entry.lock_file, fcntl.LOCK_SH)
        assert lock is not None
        try:
            while not self._is_usable(entry):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._is_usable(entry):  # not downloaded by another process meanwhile
                    self._download(location, entry, on_progress)
                fcntl.flock(lock, fcntl.LOCK_SH)
            entry.touch()
            yield WeightsFolder(entry.folder, entry.metadata()["key"])
            entry.touch()
        finally:
            lock.close()

    def _is_usable(self, entry: _Entry) -> bool:
        """Return whether an entry is complete and its files are unchanged."""
        key = entry.metadata().get("key")
        if not key:
            return False
        if entry.folder not in self.verified:
            if _key_of(entry.folder) != key:
                return False
            self.verified.add(entry.folder)
        return entry.folder.is_dir()

    def _download(self, location: HubLocation, entry: _Entry, on_progress: OnProgress) -> None:
        """Download an exclusively locked entry, resuming an earlier download."""
        if entry.metadata().get("key"):  # damaged after its download
            entry.remove()
        hub = self.hub(location.endpoint)
        files, is_pickled = select_files(hub.files(location), location.short)
        size = sum(file.size for file in files)
        # Pickles are rewritten as safetensors, then removed.
        self._make_room(entry, size * 2 if is_pickled else size, location.short)
        entry.folder.mkdir(parents=True, exist_ok=True)
        before = 0
        for file in files:
            if not (entry.folder / file.name).exists():
                at = partial(_report_total, on_progress, before, size)
                hub.download(location, file, entry.folder, at)
            before += file.size
            on_progress(before, size)
        try:
            key = _finish_download(entry.folder, is_pickled)
        except ValueError as error:
            entry.remove()
            raise InvalidInputError(
                f"the weights of {location.short} cannot be used: {error}", "The files were deleted"
            ) from error
        self.verified.add(entry.folder)
        entry.write(
            repository=location.repository,
            commit=location.commit,
            files={file.name: file.digest for file in files},
            bytes=entry.bytes_on_disk,
            key=key,
        )

    def _make_room(self, entry: _Entry, needed: int, what: str) -> None:
        """Evict the least recently used entries until `needed` bytes fit, and reserve them."""
        if needed > self.budget_bytes:
            raise InvalidInputError(
                f"{what} takes {needed / GIGABYTE:.2f} GB, QUANTA_HUB_CACHE_GB is "
                f"{self.budget_bytes / GIGABYTE:g}",
                f"Set QUANTA_HUB_CACHE_GB to {math.ceil(needed / GIGABYTE)} or more",
                "QUANTA_HUB_CACHE_GB",
            )
        budget = _lock(self.root / "budget.lock", fcntl.LOCK_EX)
        assert budget is not None
        with budget:
            others = [e for e in self._entries() if e.folder != entry.folder]
            for other in sorted(others, key=lambda e: e.used_at):
                if self._shortage(entry, others, needed) <= 0:
                    break
                if self._evict(other):
                    others.remove(other)
            if self._shortage(entry, others, needed) > 0:
                raise self._no_room(entry, others, needed, what)
            entry.folder.parent.mkdir(parents=True, exist_ok=True)
            entry.write(bytes=needed)

    def _shortage(self, entry: _Entry, others: list[_Entry], needed: int) -> int:
        """Return the missing bytes, of the budget or of the disk."""
        by_budget = sum(e.counted_bytes for e in others) + needed - self.budget_bytes
        free = shutil.disk_usage(self.root).free - SPARE_BYTES
        return max(by_budget, needed - entry.bytes_on_disk - free)

    def _no_room(self, entry: _Entry, others: list[_Entry], needed: int, what: str) -> QuantaError:
        used = sum(e.counted_bytes for e in others)
        if used + needed > self.budget_bytes:
            return NotReadyError(
                f"{what} takes {needed / GIGABYTE:.2f} GB, and checkpoints in use take "
                f"{used / GIGABYTE:.2f} of the {self.budget_bytes / GIGABYTE:g} GB of "
                "QUANTA_HUB_CACHE_GB",
                "Increase it, or run this again when the other commands have ended",
            )
        return QuantaError(
            f"the disk of {self.root} is full: {what} needs "
            f"{(needed - entry.bytes_on_disk) / GIGABYTE:.2f} GB",
            "Free space, or set QUANTA_DATA_DIR to a larger disk",
        )

    def _evict(self, entry: _Entry) -> bool:
        """Remove an entry unless it is in use; return whether it was removed."""
        lock = _lock(entry.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            return False
        with lock:
            entry.remove()
            self.verified.discard(entry.folder)
        return True


def _report_total(on_progress: OnProgress, before: int, size: int, n_bytes: int) -> None:
    on_progress(before + n_bytes, size)


def _key_of(folder: Path) -> str | None:
    from compute.checkpoints import CheckpointError, weight_files

    try:
        return files_key([folder / CONFIG, *weight_files(folder)])
    except (CheckpointError, OSError):
        return None


def _finish_download(folder: Path, is_pickled: bool) -> str:
    """Rewrite pickles as safetensors, check the weights and return the folder's key."""
    from compute.checkpoints import check_weights
    from compute.pytorch_bin import BIN_INDEX_FILE, bin_files, convert_to_safetensors

    if is_pickled:
        pickles = bin_files(folder)
        convert_to_safetensors(folder)
        for file in [*pickles, folder / BIN_INDEX_FILE]:
            file.unlink(missing_ok=True)
    check_weights(folder)
    key = _key_of(folder)
    assert key is not None, folder
    return key


@contextmanager
def prefetch(cache: HubCache, location: HubLocation | None) -> Iterator[None]:
    """Download a checkpoint in the background during the block.

    It uses only free or evictable space. An unfinished or failed download is resumed when the
    checkpoint is opened.
    """
    if location is None:
        yield
        return
    stop = threading.Event()
    background = replace(cache, hub=lambda endpoint: Hub(endpoint, stop=stop))

    def download() -> None:
        with suppress(QuantaError, StoppedError, OSError), background.open(location):
            pass

    thread = threading.Thread(target=download, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
