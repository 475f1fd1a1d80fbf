"""Stale files: caches that are no longer opened, and parts left by ended programs.

A cache is named by the hash of its contents and touched whenever it is opened: without its rows it
is never opened again, and a missing one is rebuilt from the store.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backend.settings import Settings
from backend.store.tables.base import now

CACHES, PARTS, EXPORTS = "unused caches", "parts of files", "exported files"
# A file that is being written is modified more often than this.
PART_HOURS = 24
_STAGING = (".quanta-backup-*", ".quanta-restore-*")
_TEMPORARY = ("quanta-paste-*", "quanta-corpus-*", "quanta-hub-*")


@dataclass(frozen=True)
class StaleFile:
    """A file or folder that can be removed."""

    what: str
    path: Path
    n_bytes: int

    def remove(self) -> bool:
        """Remove it; return whether it is gone."""
        with suppress(OSError):
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        return not self.path.exists()


def _stats(path: Path) -> list[os.stat_result]:
    """Return the status of a file, or of a folder and everything in it."""
    inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return [path.lstat(), *(file.lstat() for file in inside)]


def _last_modified(stats: list[os.stat_result]) -> datetime:
    return datetime.fromtimestamp(max(status.st_mtime for status in stats), UTC)


def _older_than(
    folder: Path, patterns: tuple[str, ...], before: datetime, what: str
) -> Iterator[StaleFile]:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # removed meanwhile
                status = path.lstat()
                # Skip links and files of other users.
                if stat.S_ISLNK(status.st_mode) or status.st_uid != os.getuid():
                    continue
                stats = _stats(path)
                if _last_modified(stats) < before:
                    yield StaleFile(what, path, sum(status.st_size for status in stats))


def find_stale_files(
    settings: Settings, before: datetime, results: Collection[str]
) -> list[StaleFile]:
    """Return caches that were not opened since `before`, and parts of ended programs.

    Exported files named in `results` are results of jobs and stay.
    """
    abandoned = now() - timedelta(hours=PART_HOURS)
    exported = _older_than(settings.data_dir / "exports", ("[!.]*",), before, EXPORTS)
    return [
        *_older_than(settings.cache_dir, ("*.npy",), before, CACHES),
        *(file for file in exported if file.path.name not in results),
        *_older_than(settings.cache_dir, ("*.part",), abandoned, PARTS),
        # Checkpoints of training: without them an experiment restarts its cells.
        *_older_than(settings.data_dir / "experiments", ("*.safetensors", "*.part"), before, PARTS),
        *_older_than(settings.data_dir, (".quanta-*.part", *_STAGING), abandoned, PARTS),
        *_older_than(Path(tempfile.gettempdir()), _TEMPORARY, abandoned, PARTS),
    ]
