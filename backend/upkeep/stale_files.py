"""Files that can go: caches that nobody opens any more, and parts that an ended program left.

A cache is named by the hash of what it holds and is touched whenever it is opened: one whose rows
are gone is never opened again, and one that is missing is rebuilt from the store.
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
# Nothing that is still being written stays untouched for so long.
PART_HOURS = 24
_STAGING = (".quanta-backup-*", ".quanta-restore-*")
_TEMPORARY = ("quanta-paste-*", "quanta-corpus-*", "quanta-hub-*")


@dataclass(frozen=True)
class StaleFile:
    """A file or a folder that can go."""

    what: str
    path: Path
    n_bytes: int

    def remove(self) -> bool:
        """Remove it; returns whether it is gone."""
        with suppress(OSError):
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        return not self.path.exists()


def _files(path: Path) -> list[os.stat_result]:
    """Return the facts of a file, or of a folder and all that is in it."""
    inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return [path.lstat(), *(file.lstat() for file in inside)]


def _touched(facts: list[os.stat_result]) -> datetime:
    return datetime.fromtimestamp(max(found.st_mtime for found in facts), UTC)


def _found(
    folder: Path, patterns: tuple[str, ...], before: datetime, what: str
) -> Iterator[StaleFile]:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with suppress(FileNotFoundError):  # its program ended just now
                own = path.lstat()
                # A link is not ours, and neither is another person's file.
                if stat.S_ISLNK(own.st_mode) or own.st_uid != os.getuid():
                    continue
                facts = _files(path)
                if _touched(facts) < before:
                    yield StaleFile(what, path, sum(found.st_size for found in facts))


def find_stale_files(
    settings: Settings, before: datetime, claimed: Collection[str]
) -> list[StaleFile]:
    """Return caches that were not opened since a time, and parts that were given up.

    Args:
        settings: where they are.
        before: the time.
        claimed: names of exported files that a job names as its result: these stay.
    """
    given_up = now() - timedelta(hours=PART_HOURS)
    exported = _found(settings.data_dir / "exports", ("[!.]*",), before, EXPORTS)
    return [
        *_found(settings.cache_dir, ("*.npy",), before, CACHES),
        *(found for found in exported if found.path.name not in claimed),
        *_found(settings.cache_dir, ("*.part",), given_up, PARTS),
        # Networks in training: without them an experiment begins its cells again.
        *_found(settings.data_dir / "experiments", ("*.safetensors", "*.part"), before, PARTS),
        *_found(settings.data_dir, (".quanta-*.part", *_STAGING), given_up, PARTS),
        *_found(Path(tempfile.gettempdir()), _TEMPORARY, given_up, PARTS),
    ]
