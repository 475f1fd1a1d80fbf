"""Reading corpus files: what cannot be used is refused by file and line, quickly."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidInputError
from backend.stages.documents import MAX_LINE_BYTES, RawDocument, read_documents

GOOD = b'{"id": "a", "source": "here", "license": "MIT", "text": "some words"}\n'


def read(path: Path, content: bytes) -> list[RawDocument]:
    path.write_bytes(content)
    return list(read_documents(path))


def test_fields_are_taken_as_written(tmp_path: Path) -> None:
    (document,) = read(tmp_path / "a.jsonl", GOOD)
    assert (document.external_id, document.source, document.license, document.text) == (
        "a",
        "here",
        "MIT",
        "some words",
    )


def test_fields_that_are_left_out_have_names_anyway(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a.jsonl", b'{"text": "x"}\n\n{"text": "", "id": null}\n')
    assert (first.external_id, first.source, first.license) == ("line-1", "unknown", "unknown")
    assert (second.external_id, second.text) == ("line-3", "")


def test_a_file_of_another_kind_is_one_document(tmp_path: Path) -> None:
    (document,) = read(tmp_path / "a.txt", "naïve\n{not json\n".encode())
    assert document.text == "naïve\n{not json\n"
    assert document.external_id == "a.txt"


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "binary": (b"\x7fELF\x00\x00", "line 1 holds a zero byte"),
    "not UTF-8": (GOOD + b'{"text": "caf\xe9"}', r"line 2 is not UTF-8 \(byte 0xe9 at offset 13\)"),
    "bad JSON": (GOOD + b"\n" + b'{"text": "a"', "line 3 is not JSON"),
    "deep JSON": (b"[" * 100_000, "line 1 is not JSON"),
    "a number too long": (b'{"text": "a", "id": ' + b"1" * 5000 + b"}", "line 1 is not JSON"),
    "no text": (GOOD + b'{"id": "b"}', "line 2 has no text field"),
    "text no string": (b'{"text": 7}', "line 1 has no text field"),
    "no object": (b'["text"]', "line 1 has no text field"),
    "half a surrogate": (b'{"text": "ab\\ud800"}', "line 1 holds half of a surrogate .* 2"),
    "half a surrogate in a name": (b'{"text": "ab", "id": "\\udc00"}', "line 1 holds half"),
    "a zero byte written as an escape": (b'{"text": "a\\u0000b"}', "line 1 holds a zero byte"),
    "a zero byte in a name": (b'{"text": "ab", "source": "\\u0000"}', "line 1 holds a zero byte"),
}


@pytest.mark.parametrize(("content", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_lines_that_cannot_be_used_are_refused_by_number(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read(tmp_path / "corpus.jsonl", content)
    assert str(tmp_path / "corpus.jsonl") in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"a\x00b", b"\xff\xfe"])
def test_text_files_that_cannot_be_used_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"plain\.txt"):
        read(tmp_path / "plain.txt", content)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.jsonl is not a file"):
        list(read_documents(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("name", ["long.jsonl", "long.txt"])
def test_a_line_of_200_megabytes_is_refused_in_bounded_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(200 << 20)  # sparse: no byte of it is written
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=rf"{name}.* longer than 16 MiB"):
            list(read_documents(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_LINE_BYTES


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_any_text_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    assert [d.text for d in read(path, "\n".join(lines).encode())] == texts
