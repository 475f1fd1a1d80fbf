"""The backup file: an uncompressed zip of a manifest and the parts that it lists.

Names come from a fixed list, so that no entry can be extracted outside of its folder. Links,
encrypted and duplicate entries are refused.
"""

import hashlib
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import InvalidInputError
from backend.store.database_errors import as_store_error
from backend.store.sqlite_copies import private_file, sync

FORMAT, FORMAT_VERSION = "quanta-backup", 1
MANIFEST = "manifest.json"
STORE, JOBS, DUMP = "quanta.sqlite", "jobs.sqlite", "store.dump"
PARTS = {"sqlite": ({STORE}, {STORE, JOBS}), "postgresql": ({DUMP},)}
MAX_MANIFEST_BYTES = 1 << 16
BLOCK = 1 << 20
PRIVATE_FILE = 0o600
Advance = Callable[[int], None]


class Part(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(max_length=64)
    n_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """Contents of a backup; `revision` is the revision of the store's schema."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    format_version: int
    created_at: str = Field(max_length=64)
    program_version: str = Field(max_length=64)
    database: str
    revision: str = Field(max_length=64)
    parts: tuple[Part, ...] = Field(min_length=1, max_length=2)


def _invalid(path: Path, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"{path} is not a usable backup: {problem}",
        "Give a complete file written by `quanta backup`",
    )


def _add(archive: zipfile.ZipFile, source: Path, name: str, advance: Advance) -> Part:
    digest, count = hashlib.sha256(), 0
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFREG | PRIVATE_FILE) << 16
    with source.open("rb") as file, archive.open(entry, "w", force_zip64=True) as out:
        while block := file.read(BLOCK):
            digest.update(block)
            out.write(block)
            count += len(block)
            advance(len(block))
    return Part(name=name, n_bytes=count, sha256=digest.hexdigest())


@dataclass(frozen=True)
class BackupSource:
    """Fields of the manifest that are known before the parts are written."""

    created_at: str
    program_version: str
    database: str
    revision: str


def _write(
    file: BinaryIO, origin: BackupSource, sources: Sequence[Path], advance: Advance
) -> Manifest:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        parts = tuple(_add(archive, source, source.name, advance) for source in sources)
        manifest = Manifest(
            format=FORMAT, format_version=FORMAT_VERSION, **asdict(origin), parts=parts
        )
        entry = zipfile.ZipInfo(MANIFEST)
        entry.external_attr = (stat.S_IFREG | PRIVATE_FILE) << 16
        archive.writestr(entry, json.dumps(manifest.model_dump(), indent=1))
    return manifest


def check_target(target: Path, force: bool) -> None:
    """Check that a backup can be written to `target`.

    Raises:
        InvalidInputError: `target` is a folder, or exists and `force` is not given.
    """
    if target.is_dir() or not target.parent.is_dir():
        raise InvalidInputError(
            f"{target} is not a file name in an existing folder", "Give another name", "FILE"
        )
    if target.exists() and not force:
        raise InvalidInputError(
            f"{target} exists", "Choose another name, or overwrite it with --force", "FILE"
        )


def write_archive(
    target: Path, origin: BackupSource, sources: Sequence[Path], *, force: bool, advance: Advance
) -> Manifest:
    """Write a backup atomically: `target` is complete and synced, or not created.

    Raises:
        InvalidInputError: the file exists, and `force` is not given.
        StoreFullError: the disk is full.
    """
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".quanta-", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            manifest = _write(file, origin, sources, advance)
            file.flush()
            os.fsync(file.fileno())
        check_target(target, force)
        os.replace(temporary, target)
        sync(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if (store_error := as_store_error(error)) is not None:
            raise store_error from error
        raise
    return manifest


class Archive:
    """An open backup with a valid manifest; `extract` validates the contents."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise _invalid(path, str(error)) from error
        try:
            self.manifest = self._read_manifest()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def n_bytes(self) -> int:
        """Total bytes of the parts."""
        return sum(part.n_bytes for part in self.manifest.parts)

    def _entries(self) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise _invalid(self.path, f"{entry.filename!r} is not a plain file")
            if entry.flag_bits & 1 or entry.compress_type != zipfile.ZIP_STORED:
                raise _invalid(self.path, f"{entry.filename!r} is encrypted or compressed")
            if entry.filename in entries:
                raise _invalid(self.path, f"{entry.filename!r} is duplicated")
            entries[entry.filename] = entry
        return entries

    def _read_manifest(self) -> Manifest:
        entries = self._entries()
        manifest = _parse_manifest(self.path, self._manifest_bytes(entries))
        names = [part.name for part in manifest.parts]
        if set(names) not in PARTS.get(manifest.database, ()) or len(set(names)) != len(names):
            raise _invalid(self.path, f"parts {names} are not those of a {manifest.database} store")
        if set(entries) != {MANIFEST, *names}:
            raise _invalid(
                self.path, f"it holds {sorted(entries)}, its manifest names {sorted(names)}"
            )
        for part in manifest.parts:
            if entries[part.name].file_size != part.n_bytes:
                raise _invalid(self.path, f"{part.name} is not {part.n_bytes:,} bytes long")
        return manifest

    def _manifest_bytes(self, entries: dict[str, zipfile.ZipInfo]) -> bytes:
        entry = entries.get(MANIFEST)
        if entry is None or entry.file_size > MAX_MANIFEST_BYTES:
            raise _invalid(self.path, "it has no manifest")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise _invalid(self.path, f"its manifest cannot be read ({error})") from error

    def extract(self, part: Part, folder: Path, advance: Advance) -> Path:
        """Write a part into a folder and return its path.

        Raises:
            InvalidInputError: its length or checksum differs from the manifest's.
        """
        target = folder / part.name  # a name from the fixed list
        private_file(target)
        digest, count = hashlib.sha256(), 0
        try:
            with self._zip.open(part.name) as source, target.open("wb") as out:
                while block := source.read(BLOCK):
                    count += len(block)
                    if count > part.n_bytes:
                        break
                    digest.update(block)
                    out.write(block)
                    advance(len(block))
                out.flush()
                os.fsync(out.fileno())
        except (zipfile.BadZipFile, EOFError) as error:
            raise _invalid(self.path, f"{part.name} is damaged ({error})") from error
        if (count, digest.hexdigest()) != (part.n_bytes, part.sha256):
            raise _invalid(self.path, f"{part.name} does not match its checksum")
        return target


def _parse_manifest(path: Path, data: bytes) -> Manifest:
    try:
        document: Any = json.loads(data)
        manifest = Manifest.model_validate(document)
    except (ValidationError, ValueError, RecursionError) as error:
        raise _invalid(path, "its manifest is not valid") from error
    if manifest.format != FORMAT:
        raise _invalid(path, "its manifest is of another program")
    if manifest.format_version > FORMAT_VERSION:
        raise InvalidInputError(
            f"{path} is a backup of format {manifest.format_version}, this program reads "
            f"{FORMAT_VERSION}",
            f"Install quanta-explorer {manifest.program_version} or newer",
        )
    return manifest
