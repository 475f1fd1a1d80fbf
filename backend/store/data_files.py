"""Files that jobs read and write, only below `imports` and `exports` of the data directory.

A request names files that a person with access to the directory has put there; their digests are
part of the job's key.
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
    """Return the folder that jobs read files from."""
    return store.settings.data_dir / "imports"


def exports_folder(store: Store) -> Path:
    """Return the folder that jobs write files to."""
    return store.settings.data_dir / "exports"


def _invalid_file(name: str, parameter: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"{parameter} {name!r} {reason}",
        "Put the file below `imports` in the server's data directory and name it from there",
        parameter,
    )


def file_path(store: Store, name: str, parameter: str) -> Path:
    """Return the path of a file below `imports`.

    Raises:
        InvalidInputError: the path leads out of that folder, or there is no such file.
    """
    root = imports_folder(store).resolve()
    if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise _invalid_file(name, parameter, "is not below imports")
    try:
        # Follow links before the location is checked.
        path = (root / name).resolve(strict=True)
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError) as error:
        raise _invalid_file(name, parameter, "does not exist") from error
    if not path.is_relative_to(root) or not is_file:
        raise _invalid_file(name, parameter, "is not a file below imports")
    return path


def folder_path(store: Store, name: str, parameter: str) -> Path:
    """Return the path of a folder below `imports`.

    Raises:
        InvalidInputError: the path leads out of that folder, or there is no such folder.
    """
    root = imports_folder(store).resolve()
    if "\0" in name:
        raise _invalid_file(name, parameter, "is not a folder below imports")
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise _invalid_file(name, parameter, "is not a folder below imports")
    return path


# One file at a time: requests that name large files must not occupy all threads of a server.
_reading = threading.Lock()
_digests: OrderedDict[tuple[Path, int, int, int], str] = OrderedDict()


def _digest(path: Path, size: int, changed_ns: int, inode: int) -> str:
    key = (path, size, changed_ns, inode)
    if (digest := _digests.get(key)) is not None:
        return digest
    if not _reading.acquire(timeout=MAX_WAIT_SECONDS):
        raise StoreBusyError(
            f"another file is being read; {path.name} has to wait", "Try again in a minute"
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
    """Return a file's name and digest; an unchanged file is read once.

    Raises:
        InvalidInputError: the file does not exist, or cannot be read.
    """
    path = file_path(store, name, parameter)
    facts = path.stat()
    try:
        digest = _digest(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    except OSError as error:
        raise _invalid_file(name, parameter, f"cannot be read ({error.strerror})") from error
    return {"file": name, "sha256": digest}


def verify_file(store: Store, file: DataFile, parameter: str) -> Path:
    """Return the path of a file that still has the described content.

    Raises:
        InvalidInputError: the file has changed, or does not exist.
    """
    if describe_file(store, file["file"], parameter) != file:
        raise InvalidInputError(
            f"{parameter} {file['file']} has changed since the job was submitted",
            "Submit the job again: the content of the file is part of it",
            parameter,
        )
    return file_path(store, file["file"], parameter)


def folder_digest(folder: Path) -> str:
    """Return one sha256 over the paths and contents of a folder's files.

    Raises:
        InvalidInputError: they hold too many bytes for a request to read.
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


def file_size(store: Store, file: DataFile) -> int:
    """Return a file's size in bytes; 0 if it no longer exists."""
    try:
        return file_path(store, file["file"], "file").stat().st_size
    except InvalidInputError:
        return 0


def list_import_files(store: Store) -> tuple[str, ...]:
    """Return names of files below `imports`, for a form's suggestions."""
    root = imports_folder(store)
    if not root.is_dir():
        return ()
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return tuple(names[:MAX_LISTED])
