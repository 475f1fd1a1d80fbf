"""Files that jobs read and write: below `imports` and `exports` of the data directory, only.

A job reads files that somebody who may write there has put there; a request names them, and they
are part of the job's content by their digests.
"""

import hashlib
import stat
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TypedDict

from backend.errors import InvalidInputError, StoreBusyError
from backend.store.database import Store

MAX_LISTED, MAX_DIGESTS = 200, 1_000
MAX_WAIT_SECONDS = 10.0
MAX_FOLDER_BYTES = 1 << 30


class DataFile(TypedDict):
    """A file of `imports`: its path below that, and the sha256 of its content."""

    file: str
    sha256: str


def imports_folder(store: Store) -> Path:
    """Return the folder that jobs may read files of."""
    return store.settings.data_dir / "imports"


def exports_folder(store: Store) -> Path:
    """Return the folder that jobs write files to."""
    return store.settings.data_dir / "exports"


def _refused(name: str, parameter: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{parameter} {name!r} {why}",
        "Put the file below `imports` in the server's data directory and name it from there",
        parameter,
    )


def file_path(store: Store, name: str, parameter: str) -> Path:
    """Return the path of a file below `imports`.

    Raises:
        InvalidInputError: it leads out of that folder, or there is no such file.
    """
    root = imports_folder(store).resolve()
    if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise _refused(name, parameter, "does not lie below imports")
    try:
        # Links are followed before the place is judged.
        path = (root / name).resolve(strict=True)
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError) as error:
        raise _refused(name, parameter, "is not there") from error
    if not path.is_relative_to(root) or not is_file:
        raise _refused(name, parameter, "is no file below imports")
    return path


def folder_path(store: Store, name: str, parameter: str) -> Path:
    """Return the path of a folder below `imports`.

    Raises:
        InvalidInputError: it leads out of that folder, or there is no such folder.
    """
    root = imports_folder(store).resolve()
    if "\0" in name:
        raise _refused(name, parameter, "is no folder below imports")
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise _refused(name, parameter, "is no folder below imports")
    return path


# One file at a time: requests that name large files must not keep all of a server's threads.
_reading = threading.Lock()
_digests: OrderedDict[tuple[Path, int, int, int], str] = OrderedDict()


def _digest(path: Path, size: int, changed_ns: int, inode: int) -> str:
    key = (path, size, changed_ns, inode)
    if (found := _digests.get(key)) is not None:
        return found
    if not _reading.acquire(timeout=MAX_WAIT_SECONDS):
        raise StoreBusyError(
            f"another file is being read; {path.name} has to wait", "Ask again in a minute"
        )
    try:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        while len(_digests) > MAX_DIGESTS:
            _digests.popitem(last=False)
        return _digests[key]
    finally:
        _reading.release()


def describe_file(store: Store, name: str, parameter: str) -> DataFile:
    """Return a file's name and digest; a file that did not change is read once.

    Raises:
        InvalidInputError: it is not there, or cannot be read.
    """
    path = file_path(store, name, parameter)
    facts = path.stat()
    try:
        digest = _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    except OSError as error:
        raise _refused(name, parameter, f"cannot be read ({error.strerror})") from error
    return {"file": name, "sha256": digest}


def verify_file(store: Store, wanted: DataFile, parameter: str) -> Path:
    """Return the path of a file that is as it was when the job was asked for.

    Raises:
        InvalidInputError: it changed, or is not there.
    """
    if describe_file(store, wanted["file"], parameter) != wanted:
        raise InvalidInputError(
            f"{parameter} {wanted['file']} has changed since the job was submitted",
            "Submit the job again: the content of the file is part of it",
            parameter,
        )
    return file_path(store, wanted["file"], parameter)


def folder_digest(folder: Path) -> str:
    """Return one sha256 over the paths and contents of a folder's files.

    Raises:
        InvalidInputError: there are too many of them for a request to read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in paths]
    if sum(sizes) > MAX_FOLDER_BYTES:
        raise InvalidInputError(
            f"{folder.name} holds {sum(sizes):,} bytes",
            f"Jobs take folders of at most {MAX_FOLDER_BYTES:,}; `quanta suite train` takes any",
            "recipe",
        )
    digest = hashlib.sha256()
    for path, size in zip(paths, sizes, strict=True):
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}:".encode())
        digest.update(bytes.fromhex(_digest(path, size, path.stat().st_mtime_ns, 0)))
    return digest.hexdigest()


def file_size(store: Store, wanted: DataFile) -> int:
    """Return a file's size in bytes, 0 if it is not there any more."""
    try:
        return file_path(store, wanted["file"], "file").stat().st_size
    except InvalidInputError:
        return 0


def list_import_files(store: Store) -> tuple[str, ...]:
    """Return names of files below `imports`, for a form's suggestions."""
    root = imports_folder(store)
    if not root.is_dir():
        return ()
    found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return tuple(found[:MAX_LISTED])
