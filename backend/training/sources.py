"""Fetch the packages of a recipe, verify their hashes, and read their text files."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInputError, QuantaError
from backend.training.recipe import Source

PYPI = os.environ.get("QUANTA_PYPI", "https://pypi.org/simple")
NPM = os.environ.get("QUANTA_NPM", "https://registry.npmjs.org")
TIMEOUT_SECONDS = 60
MEMBER_LIMIT = 64 << 20  # bytes of one archive member; larger files are skipped


@dataclass(frozen=True)
class SourceFile:
    """One text file of a source."""

    source: Source
    path: str
    text: str


def fetch_package(source: Source, folder: Path) -> Path:
    """Return the package's archive or folder, downloading it once and checking its hash.

    Raises:
        InvalidInputError: the hash differs, or the registry does not have the file.
    """
    if source.kind == "folder":
        if not Path(source.package).is_dir():
            raise InvalidInputError(
                f"source {source.name}: {source.package} is not a folder", "Correct the recipe"
            )
        return Path(source.package)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (source.file or f"{source.package.replace('/', '-')}-{source.version}.tgz")
    if not target.is_file():
        part = target.with_name(target.name + ".part")
        _FETCH[source.kind](source, part)
        _check_hash(source, part)
        os.replace(part, target)
    else:
        _check_hash(source, target)
    return target


def _check_hash(source: Source, path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if source.sha256 and digest != source.sha256:
        path.unlink()
        raise InvalidInputError(
            f"source {source.name}: sha256 of {path.name} is {digest}, the recipe says "
            f"{source.sha256}",
            "Run it again; if the error remains, the registry has another file",
        )


def _download(url: str, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 - fixed registries
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            data: bytes = response.read()
            return data
    except (urllib.error.URLError, TimeoutError) as error:
        raise QuantaError(
            f"{url} cannot be fetched ({error})", "Check the network, then run it again"
        ) from error


def _from_pypi(source: Source, part: Path) -> None:
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    listing = json.loads(_download(f"{PYPI}/{source.package.lower()}/", headers))
    for item in listing["files"]:
        if item["filename"] == source.file:
            part.write_bytes(_download(item["url"]))
            return
    raise InvalidInputError(
        f"source {source.name}: {source.package} has no file {source.file}", "Correct the recipe"
    )


def _from_npm(source: Source, part: Path) -> None:
    base = source.package.rsplit("/", 1)[-1]
    part.write_bytes(_download(f"{NPM}/{source.package}/-/{base}-{source.version}.tgz"))


def _from_debian(source: Source, part: Path) -> None:
    tool = shutil.which("apt-get")
    if tool is None:
        raise InvalidInputError(
            f"source {source.name} is a Debian package, and apt-get is not installed",
            f"Put {source.file} into {part.parent}, from snapshot.debian.org",
        )
    # apt chooses the file name in the working directory.
    work = part.parent / f"{source.name}.apt"
    work.mkdir(exist_ok=True)
    process = subprocess.run(  # noqa: S603 - a package name of the recipe, no shell
        [tool, "download", f"{source.package}={source.version}"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    packages = sorted(work.glob("*.deb"))
    if process.returncode or not packages:
        raise QuantaError(
            f"source {source.name}: apt-get download {source.package}={source.version}: "
            f"{process.stderr.strip()[-300:]}",
            f"Run apt-get update, or put {source.file} into {part.parent}",
        )
    os.replace(packages[0], part)
    shutil.rmtree(work)


_FETCH = {"pypi": _from_pypi, "npm": _from_npm, "debian": _from_debian}


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of the regular files of an archive or folder, in order of path."""
    if archive.is_dir():
        for path in sorted(p for p in archive.rglob("*") if p.is_file()):
            yield path.relative_to(archive).as_posix(), path.read_bytes()
    elif archive.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(archive) as bundle:
            for name in sorted(bundle.namelist()):
                if not name.endswith("/") and bundle.getinfo(name).file_size <= MEMBER_LIMIT:
                    yield name, bundle.read(name)
    else:
        data = _deb_data(archive.read_bytes()) if archive.suffix == ".deb" else archive.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
            files = [m for m in bundle.getmembers() if m.isfile() and m.size <= MEMBER_LIMIT]
            for member in sorted(files, key=lambda m: m.name):
                content = bundle.extractfile(member)
                assert content is not None, member.name
                yield member.name.removeprefix("./"), content.read()


def _deb_data(deb: bytes) -> bytes:
    """Return the data archive of a Debian package, which is an `ar` file of three members."""
    offset = 8
    while offset + 60 <= len(deb):
        name, size = deb[offset : offset + 16].decode().strip(), int(deb[offset + 48 : offset + 58])
        if name.startswith("data.tar"):
            return deb[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
    raise InvalidInputError("the Debian package has no data archive", "Fetch it again")


def iter_archive_files(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of every regular file of a source's package, in order of path."""
    yield from _members(fetch_package(source, folder))


def _is_included(source: Source, path: str) -> bool:
    # The top folder of an archive contains the version; patterns omit it.
    inner = path if source.kind in {"debian", "folder"} else path.split("/", 1)[-1]

    def matches_any(patterns: tuple[str, ...]) -> bool:
        return any(_matches(inner, pattern) for pattern in patterns)

    return matches_any(source.include) and not matches_any(source.exclude)


def _matches(path: str, pattern: str) -> bool:
    regex = "".join(
        {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
        for piece in re.split(r"(\*\*/|\*|\?)", pattern)
    )
    return re.fullmatch(regex, path) is not None


def iter_source_files(source: Source, folder: Path) -> Iterator[SourceFile]:
    """Yield the text files of a source, up to its `max_bytes`, skipping files that are not UTF-8.

    Raises:
        InvalidInputError: the patterns match nothing.
    """
    n_bytes_read = 0
    for path, data in iter_archive_files(source, folder):
        if not _is_included(source, path) or (b"\0" in data[:1024] and source.format == "text"):
            continue
        for text in _texts(source, data):
            if n_bytes_read >= source.max_bytes:
                return
            part_of_text = text[: source.max_bytes - n_bytes_read]
            n_bytes_read += len(part_of_text)
            yield SourceFile(source, path, part_of_text)
    if not n_bytes_read:
        raise InvalidInputError(
            f"source {source.name}: {', '.join(source.include)} match no text", "Correct the recipe"
        )


def _texts(source: Source, data: bytes) -> Iterator[str]:
    if source.format == "r-lines":
        yield from _r_lines(data)
        return
    if source.format == "dict":
        data = _decompress(data)[0]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    yield text.replace("\r\n", "\n").removeprefix("\ufeff")


def _decompress(data: bytes | memoryview) -> tuple[bytes, int]:
    """Return the content of a gzip or zlib stream, and the length of the stream in bytes."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        content = stream.decompress(data, MEMBER_LIMIT)
    except zlib.error as error:
        raise InvalidInputError(
            f"compressed text is damaged ({error})", "Fetch it again"
        ) from error
    if not stream.eof:
        raise InvalidInputError(
            f"compressed text is truncated or decompresses to more than {MEMBER_LIMIT >> 20} MiB",
            "Exclude the file in the recipe",
        )
    return content, len(data) - len(stream.unused_data)


def _r_lines(data: bytes) -> Iterator[str]:
    """Yield the character vectors of an R package's lazy-load database, each joined as lines.

    The database is a sequence of (length, zlib stream) entries, each an object in R's binary
    serialisation (R Internals, section 1.8); other objects than character vectors are skipped.
    """
    remaining = memoryview(data)
    while len(remaining) > 4:
        size = int.from_bytes(remaining[:4], "big")
        content, used = _decompress(remaining[4:])
        if len(content) != size:
            raise InvalidInputError(
                f"an object of the R package has {len(content)} bytes instead of {size}",
                "Fetch it again",
            )
        remaining = remaining[4 + used :]
        if (lines := _character_vector(content)) is not None:
            yield "\n".join(lines) + "\n"


def _character_vector(content: bytes) -> list[str] | None:
    def number(offset: int) -> int:
        return int.from_bytes(content[offset : offset + 4], "big", signed=True)

    # "X\n", version, writer, oldest reader, and in version 3 the length and name of the encoding.
    offset = 14 + (4 + number(14) if number(2) == 3 else 0)
    if number(offset) & 0xFF != 16:
        return None
    count, offset = number(offset + 4), offset + 8
    lines = []
    for _ in range(count):
        length = number(offset + 4)
        lines.append(content[offset + 8 : offset + 8 + max(length, 0)].decode("utf-8", "replace"))
        offset += 8 + max(length, 0)
    return lines
