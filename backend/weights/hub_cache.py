"""Weights from the hub on this machine: fetched once, verified, evicted by a disk budget.

Layout under the root: `OWNER--NAME/COMMIT/` holds the files of one checkpoint, `COMMIT.json`
beside it what they are, `COMMIT.lock` who uses them. A lock is shared while weights are read and
exclusive while they are fetched or removed, so that nothing in use is ever evicted, by whatever
process. The budget counts a checkpoint in full from the moment its fetch begins.
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
SPARE_BYTES = 64 << 20  # left free on the disk
CONFIG = "config.json"
# In order of preference: a pattern of whole names, and whether the files are pickles.
WEIGHTS = (
    (re.compile(r"model\.safetensors"), False),
    (re.compile(r"model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)"), False),
    (re.compile(r"pytorch_model\.bin"), True),
    (re.compile(r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)"), True),
)
Reached = Callable[[int, int], None]  # (bytes held, bytes in all)


@dataclass(frozen=True)
class WeightsFolder:
    """A folder that `compute.checkpoints` can load, and what `files_key` says of its files."""

    path: Path
    key: str


def select_files(files: dict[str, HubFile], what: str) -> tuple[list[HubFile], bool]:
    """Return (configuration and weights to fetch, whether the weights are pickles).

    Raises:
        InvalidInputError: the commit has no configuration, no weights, or files without a hash.
    """
    for pattern, is_pickled in WEIGHTS:
        names = [name for name in files if pattern.fullmatch(name)]
        if names and CONFIG in files:
            chosen = [files[CONFIG], *(files[name] for name in sorted(names))]
            unhashed = [file.name for file in chosen if not file.digest]
            if unhashed:
                break
            return chosen, is_pickled
    raise InvalidInputError(
        f"{what} has no {CONFIG} with safetensors or .bin weights of a known hash",
        "Choose another revision: --step",
    )


def _lock(path: Path, mode: int) -> IO[bytes] | None:
    """Return the locked file; None if it is locked by others and `mode` does not wait."""
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
    def facts_file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".json")

    @property
    def lock_file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".lock")

    def facts(self) -> dict[str, Any]:
        try:
            found = json.loads(self.facts_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, **facts: Any) -> None:
        unfinished = self.facts_file.with_suffix(".part")
        unfinished.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(unfinished, self.facts_file)

    @property
    def bytes_on_disk(self) -> int:
        if not self.folder.is_dir():
            return 0
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    @property
    def counted_bytes(self) -> int:
        return max(int(self.facts().get("bytes", 0)), self.bytes_on_disk)

    @property
    def used_at(self) -> int:
        return self.facts_file.stat().st_mtime_ns if self.facts_file.exists() else 0

    def touch(self) -> None:
        # Given in full: the file system's own clock takes uses within milliseconds for one.
        used = time.time_ns()
        os.utime(self.facts_file, ns=(used, used))

    def remove(self) -> None:
        self.facts_file.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class HubCache:
    """The checkpoints of one data directory.

    Attributes:
        root: its folder.
        budget_bytes: most that all checkpoints together may take.
        hub: makes the client of an endpoint.
        verified: entries whose files this process has read and found as they were fetched.
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
        """Whether a checkpoint has been fetched and not evicted."""
        return bool(self._entry(location).facts().get("key"))

    @contextmanager
    def open(
        self, location: HubLocation, reached: Reached = lambda held, total: None
    ) -> Iterator[WeightsFolder]:
        """Yield a checkpoint's folder, fetched if need be; it stays while the block lasts.

        Raises:
            NotFoundError: the hub does not have it.
            InvalidInputError: its files cannot be used, or it is larger than the budget.
            NotReadyError: what others use leaves no room for it.
            QuantaError: the hub fails, or the disk is full.
        """
        entry = self._entry(location)
        lock = _lock(entry.lock_file, fcntl.LOCK_SH)
        assert lock is not None
        try:
            while not self._is_usable(entry):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._is_usable(entry):  # nobody fetched it while we waited
                    self._fetch(location, entry, reached)
                fcntl.flock(lock, fcntl.LOCK_SH)
            entry.touch()
            yield WeightsFolder(entry.folder, entry.facts()["key"])
            entry.touch()
        finally:
            lock.close()

    def _is_usable(self, entry: _Entry) -> bool:
        """Whether an entry is complete and its files are still what was fetched."""
        key = entry.facts().get("key")
        if not key:
            return False
        if entry.folder not in self.verified:
            if _key_of(entry.folder) != key:
                return False
            self.verified.add(entry.folder)
        return entry.folder.is_dir()

    def _fetch(self, location: HubLocation, entry: _Entry, reached: Reached) -> None:
        """Fill an entry that is locked exclusively; what was begun before is continued."""
        if entry.facts().get("key"):  # complete once, damaged since
            entry.remove()
        hub = self.hub(location.endpoint)
        files, is_pickled = select_files(hub.files(location), location.short)
        size = sum(file.size for file in files)
        # Pickles are rewritten beside themselves, then removed.
        self._make_room(entry, size * 2 if is_pickled else size, location.short)
        entry.folder.mkdir(parents=True, exist_ok=True)
        before = 0
        for file in files:
            if not (entry.folder / file.name).exists():
                at = partial(_reached_of_all, reached, before, size)
                hub.download(location, file, entry.folder, at)
            before += file.size
            reached(before, size)
        try:
            key = _finished(entry.folder, is_pickled)
        except ValueError as error:
            entry.remove()
            raise InvalidInputError(
                f"the weights of {location.short} cannot be used: {error}", "Nothing was kept"
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
        """Evict what was used longest ago until `needed` bytes fit, and reserve them."""
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
                if self._evicted(other):
                    others.remove(other)
            if self._shortage(entry, others, needed) > 0:
                raise self._no_room(entry, others, needed, what)
            entry.folder.parent.mkdir(parents=True, exist_ok=True)
            entry.write(bytes=needed)

    def _shortage(self, entry: _Entry, others: list[_Entry], needed: int) -> int:
        """Return the bytes that are lacking, by the budget or on the disk."""
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
                "Raise it, or run this again when the other commands are done",
            )
        return QuantaError(
            f"the disk of {self.root} is full: {what} needs "
            f"{(needed - entry.bytes_on_disk) / GIGABYTE:.2f} GB",
            "Make room, or set QUANTA_DATA_DIR to a larger disk",
        )

    def _evicted(self, entry: _Entry) -> bool:
        """Remove an entry unless somebody uses it; return whether it is gone."""
        lock = _lock(entry.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            return False
        with lock:
            entry.remove()
            self.verified.discard(entry.folder)
        return True


def _reached_of_all(reached: Reached, before: int, size: int, held: int) -> None:
    reached(before + held, size)


def _key_of(folder: Path) -> str | None:
    from compute.checkpoints import CheckpointError, weight_files

    try:
        return files_key([folder / CONFIG, *weight_files(folder)])
    except (CheckpointError, OSError):
        return None


def _finished(folder: Path, is_pickled: bool) -> str:
    """Return the key of a fetched folder, its pickles rewritten as safetensors and removed."""
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
    """Fetch a checkpoint in the background for as long as the block lasts.

    It takes only room that is free or evictable. What is not finished at the end of the block is
    continued, and what failed tried again, when the checkpoint is opened.
    """
    if location is None:
        yield
        return
    stop = threading.Event()
    quiet = replace(cache, hub=lambda endpoint: Hub(endpoint, stop=stop))

    def fetch() -> None:
        with suppress(QuantaError, StoppedError, OSError), quiet.open(location):
            pass

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
