"""Reading corpus files: JSON lines with a `text` field, or plain text (one document a file)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInputError

# A longer line means a file of another format; it is refused before all of it is read.
MAX_LINE_BYTES = 16 << 20
MAX_FIELD_CHARACTERS = 300


@dataclass(frozen=True)
class RawDocument:
    """A document of a file; `origin` names file and line in error messages."""

    origin: str
    external_id: str
    source: str
    license: str
    text: str


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InvalidInputError(
                    f"{path}, line {number} is longer than {MAX_LINE_BYTES >> 20} MiB",
                    "Split the document, or cut it: only its first tokens are used",
                )
            yield number, line


def _validate_text(text: str, origin: str) -> str:
    """Return text that UTF-8 and every database can store."""
    if "\0" in text:
        raise InvalidInputError(
            f"{origin} holds a zero byte, so it is not text", "Give JSON lines or plain text"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{origin} holds half of a surrogate pair at character {error.start}",
            "Write characters outside the basic plane whole",
        ) from error
    return text


def _decoded(data: bytes, origin: str) -> str:
    try:
        return _validate_text(data.decode("utf-8"), origin)
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{origin} is not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start})",
            "Convert it, for example with iconv -t UTF-8",
        ) from error


def _field(record: dict[str, object], name: str, default: str, origin: str) -> str:
    value = record.get(name)
    return default if value is None else _validate_text(str(value)[:MAX_FIELD_CHARACTERS], origin)


def _parsed(line: bytes, origin: str, number: int) -> RawDocument:
    try:
        record = json.loads(_decoded(line, origin))
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise InvalidInputError(
            f"{origin} is not JSON ({error})", "Write one JSON object a line, with a text field"
        ) from error
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise InvalidInputError(
            f"{origin} has no text field that is a string",
            'Write lines such as {"id": "a", "source": "where from", "license": "MIT", "text": …}',
        )
    return RawDocument(
        origin=origin,
        external_id=_field(record, "id", f"line-{number}", origin),
        source=_field(record, "source", "unknown", origin),
        license=_field(record, "license", "unknown", origin),
        text=_validate_text(text, origin),
    )


def read_documents(path: Path) -> Iterator[RawDocument]:
    """Yield the documents of a `.jsonl` file, or the one document of any other file.

    Raises:
        InvalidInputError: missing, empty, binary, not UTF-8, too long a line, or not JSON; the
            message names file and line.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} is not a file", "Give a .jsonl or a text file")
    if path.stat().st_size == 0:
        raise InvalidInputError(f"{path} is empty", "Give a file with at least one document")
    if path.suffix not in {".jsonl", ".ndjson"}:
        if path.stat().st_size > MAX_LINE_BYTES:
            raise InvalidInputError(
                f"{path} is longer than {MAX_LINE_BYTES >> 20} MiB",
                "Split it into documents, one JSON line each",
            )
        text = _decoded(path.read_bytes(), str(path))
        yield RawDocument(str(path), path.name, str(path.name), "unknown", text)
        return
    for number, line in _lines(path):
        if line.strip():
            yield _parsed(line, f"{path}, line {number}", number)
