"""Fetching the packages that a recipe names, verified by hash, and reading their text."""

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
TIMEOUT_S = 60
MEMBER_LIMIT = 64 << 20  # one file of an archive; larger ones are no text for a small model


@dataclass(frozen=True)
class SourceFile:
    """One text file of a source."""

    source: Source
    path: str
    text: str


def fetched(source: Source, folder: Path) -> Path:
    """Return the package's archive (or folder), downloaded once and checked.

    Raises:
        InvalidInputError: the hash differs, or the registry does not have it.
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
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if source.sha256 and found != source.sha256:
        path.unlink()
        raise InvalidInputError(
            f"source {source.name}: sha256 of {path.name} is {found}, the recipe says "
            f"{source.sha256}",
            "Run it again; if it stays so, the registry's file is not the recipe's",
        )


def _download(url: str, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 - fixed registries
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            data: bytes = answer.read()
            return data
    except (urllib.error.URLError, TimeoutError) as error:
        raise QuantaError(
            f"{url} cannot be fetched ({error})", "Check the network, then run it again"
        ) from error


def _from_pypi(source: Source, part: Path) -> None:
    listing = json.loads(
        _download(
            f"{PYPI}/{source.package.lower()}/",
            {"Accept": "application/vnd.pypi.simple.v1+json"},
        )
    )
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
            f"source {source.name} is a Debian package and there is no apt-get here",
            f"Put {source.file} into {part.parent}, from snapshot.debian.org",
        )
    # apt writes into the working directory, under a name of its own.
    work = part.parent / f"{source.name}.apt"
    work.mkdir(exist_ok=True)
    done = subprocess.run(  # noqa: S603 - a package name of the recipe, no shell
        [tool, "download", f"{source.package}={source.version}"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    found = sorted(work.glob("*.deb"))
    if done.returncode or not found:
        raise QuantaError(
            f"source {source.name}: apt-get download {source.package}={source.version}: "
            f"{done.stderr.strip()[-300:]}",
            f"Run apt-get update, or put {source.file} into {part.parent}",
        )
    os.replace(found[0], part)
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
    at = 8
    while at + 60 <= len(deb):
        name, size = deb[at : at + 16].decode().strip(), int(deb[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return deb[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise InvalidInputError("the Debian package holds no data archive", "Fetch it again")


def archive_files(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of every regular file of a source's package, in order of path."""
    yield from _members(fetched(source, folder))


def _included(source: Source, path: str) -> bool:
    # An archive's own top folder carries the version; patterns do not.
    inner = path if source.kind in {"debian", "folder"} else path.split("/", 1)[-1]

    def holds(patterns: tuple[str, ...]) -> bool:
        return any(_matches(inner, pattern) for pattern in patterns)

    return holds(source.include) and not holds(source.exclude)


def _matches(path: str, pattern: str) -> bool:
    regex = "".join(
        {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(piece, re.escape(piece))
        for piece in re.split(r"(\*\*/|\*|\?)", pattern)
    )
    return re.fullmatch(regex, path) is not None


def source_files(source: Source, folder: Path) -> Iterator[SourceFile]:
    """Yield the text files of a source, up to its `max_bytes`; files that are no UTF-8 are left.

    Raises:
        InvalidInputError: the patterns match nothing.
    """
    taken = 0
    for path, data in archive_files(source, folder):
        if not _included(source, path) or (b"\0" in data[:1024] and source.format == "text"):
            continue
        for text in _texts(source, data):
            if taken >= source.max_bytes:
                return
            kept = text[: source.max_bytes - taken]
            taken += len(kept)
            yield SourceFile(source, path, kept)
    if not taken:
        raise InvalidInputError(
            f"source {source.name}: {', '.join(source.include)} match no text", "Correct the recipe"
        )


def _texts(source: Source, data: bytes) -> Iterator[str]:
    if source.format == "r-lines":
        yield from _r_lines(data)
        return
    if source.format == "dict":
        data = _unfolded(data)[0]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    yield text.replace("\r\n", "\n").removeprefix("\ufeff")


def _unfolded(data: bytes | memoryview) -> tuple[bytes, int]:
    """Return the content of a gzip or zlib stream, and how many bytes the stream takes.

    Raises:
        InvalidInputError: it is damaged, or unfolds to more than any text has.
    """
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        content = stream.decompress(data, MEMBER_LIMIT)
    except zlib.error as error:
        raise InvalidInputError(
            f"compressed text is damaged ({error})", "Fetch it again"
        ) from error
    if not stream.eof:
        raise InvalidInputError(
            f"compressed text ends early or unfolds to more than {MEMBER_LIMIT >> 20} MiB",
            "Leave the file out of the recipe",
        )
    return content, len(data) - len(stream.unused_data)


def _r_lines(data: bytes) -> Iterator[str]:
    """Yield the character vectors of an R package's data base, each joined as lines.

    The data base is a row of (length, zlib stream) entries, each an object in R's binary
    serialisation (R Internals, section 1.8); anything but a character vector is left.
    """
    rest = memoryview(data)
    while len(rest) > 4:
        size = int.from_bytes(rest[:4], "big")
        content, used = _unfolded(rest[4:])
        if len(content) != size:
            raise InvalidInputError(
                f"an object of the R package has {len(content)} bytes instead of {size}",
                "Fetch it again",
            )
        rest = rest[4 + used :]
        if (lines := _character_vector(content)) is not None:
            yield "\n".join(lines) + "\n"


def _character_vector(content: bytes) -> list[str] | None:
    def number(at: int) -> int:
        return int.from_bytes(content[at : at + 4], "big", signed=True)

    # "X\n", version, writer, oldest reader, and in version 3 the length and name of the encoding.
    at = 14 + (4 + number(14) if number(2) == 3 else 0)
    if number(at) & 0xFF != 16:
        return None
    count, at = number(at + 4), at + 8
    lines = []
    for _ in range(count):
        length = number(at + 4)
        lines.append(content[at + 8 : at + 8 + max(length, 0)].decode("utf-8", "replace"))
        at += 8 + max(length, 0)
    return lines
