"""Corpora: numbering, chunks, names, and all or nothing."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.read.documents import read_all, read_chunk
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.store.database import Store
from backend.store.tables import Corpus, Document, TokenChunk
from tests.stores import DATABASE, TOKENIZER

REUSED_STORE = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def written(folder: Path, texts: Sequence[str], source: str = "here") -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": t, "source": source}) + "\n" for t in texts))
    return path


def spec_of(file: Path, name: str = "small", **changes: Any) -> CorpusSpec:
    return CorpusSpec.parse({"name": name, "files": [file], "tokenizer": TOKENIZER, **changes})


def dump(store: Store) -> list[str]:
    """Every statement that would make the store's database again."""
    with closing(sqlite3.connect(store.settings.data_dir / DATABASE)) as connection:
        return list(connection.iterdump())


# One letter is one token of the bundled tokenizer, so that lengths are known.
LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=14).filter(lambda n: max(n) >= 2)


def text_of(length: int) -> str:
    return "\x01" * length


@REUSED_STORE
@given(lengths=LENGTHS, max_tokens=st.integers(2, 12), chunk_predictions=st.integers(1, 30))
def test_predictions_are_numbered_in_document_order_and_chunks_close_at_document_ends(
    store: Store, tmp_path: Path, lengths: list[int], max_tokens: int, chunk_predictions: int
) -> None:
    name = f"c{abs(hash((tuple(lengths), max_tokens, chunk_predictions)))}"
    # Of a source of its own: cut documents of two examples can be equal.
    file = written(tmp_path, [text_of(n) for n in lengths], source=name)
    spec = spec_of(file, name, max_tokens=max_tokens, chunk_predictions=chunk_predictions)
    corpus = add_corpus(store, spec, Silent())
    with store.session() as session:
        rows = session.scalars(
            select(Document).where(Document.corpus_id == corpus.id).order_by(Document.index)
        ).all()
        chunks = session.scalars(
            select(TokenChunk).where(TokenChunk.corpus_id == corpus.id).order_by(TokenChunk.chunk)
        ).all()
        documents = read_all(session, corpus)
        parts = [read_chunk(session, corpus, c.chunk) for c in chunks]

    n_tokens = [min(n, max_tokens) for n in lengths]
    assert [len(d) for d in documents] == n_tokens == [row.n_tokens for row in rows]
    assert [row.is_cut for row in rows] == [n > max_tokens for n in lengths]
    # index = sum over earlier documents of max(len - 1, 0), plus position - 1
    naive = [(d, p) for d, n in enumerate(n_tokens) for p in range(1, n)]
    for index, (d, p) in enumerate(naive):
        assert rows[d].first_prediction + p - 1 == index
    assert corpus.n_predictions == len(naive) == sum(row.n_predictions for row in rows)
    assert corpus.n_tokens == sum(n_tokens)

    # A chunk closes at the first document end at or after chunk_predictions.
    n_in_chunk, chunk, expected = 0, 0, []
    for n in n_tokens:
        expected.append(chunk)
        n_in_chunk += max(n - 1, 0)
        if n_in_chunk >= chunk_predictions:
            n_in_chunk, chunk = 0, chunk + 1
    assert [row.chunk for row in rows] == expected
    assert corpus.n_chunks == len(chunks) == expected[-1] + 1
    for part, row in zip(parts, chunks, strict=True):
        assert part.first_document == expected.index(part.chunk) == row.first_document
        assert len(part.documents) == expected.count(part.chunk) == row.n_documents
        assert part.first_prediction == rows[part.first_document].first_prediction
        assert part.n_predictions == sum(max(len(d) - 1, 0) for d in part.documents)


def test_tokens_are_those_of_the_tokenizers_library_without_added_ones(
    store: Store, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer

    texts = ["The kernel returns.", "naïve 漢字 👩‍🔬", "", " x"]
    corpus = add_corpus(store, spec_of(written(tmp_path, texts)), Silent())
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    with store.session() as session:
        for text, ids in zip(texts, read_all(session, corpus), strict=True):
            assert ids.tolist() == tokenizer.encode(text, add_special_tokens=False).ids
            assert ids.dtype == np.uint16


def test_the_text_of_a_cut_document_ends_where_its_tokens_do(store: Store, tmp_path: Path) -> None:
    text = "The kernel driver returns memory when the device option is cached. " * 9
    corpus = add_corpus(store, spec_of(written(tmp_path, [text]), max_tokens=20), Silent())
    from tokenizers import Tokenizer

    with store.session() as session:
        stored = session.scalars(select(Document.text)).one()
        (ids,) = read_all(session, corpus)
    assert stored == Tokenizer.from_file(str(TOKENIZER)).decode(ids.tolist())
    assert text.startswith(stored)


def test_the_same_corpus_twice_is_the_same_row(store: Store, tmp_path: Path) -> None:
    spec = spec_of(written(tmp_path, ["some words here", "and more"]))
    first = add_corpus(store, spec, Silent())
    before = dump(store)
    assert add_corpus(store, spec, Silent()).id == first.id
    assert dump(store) == before


@pytest.mark.parametrize(
    "changes", [{"max_tokens": 3}, {"prefix": (0,)}, {"chunk_predictions": 7}, {"limit": 1}]
)
def test_whatever_changes_a_corpus_changes_its_key(
    store: Store, tmp_path: Path, changes: dict[str, Any]
) -> None:
    file = written(tmp_path, ["some words in here", "and many more of them"])
    first = add_corpus(store, spec_of(file, "one"), Silent())
    other = add_corpus(store, spec_of(file, "two", **changes), Silent())
    assert other.key != first.key


def test_equal_documents_under_another_name_are_refused(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ["some words here", "and more"])
    add_corpus(store, spec_of(file, "one"), Silent())
    before = dump(store)
    with pytest.raises(InvalidInputError, match="already stored as corpus one"):
        add_corpus(store, spec_of(file, "two"), Silent())
    assert dump(store) == before


def test_a_prefix_is_position_zero_and_counts_for_the_length(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ["many words of text, more than fit", "", "a"])
    plain = add_corpus(store, spec_of(file, "plain", max_tokens=5), Silent())
    prefixed = add_corpus(store, spec_of(file, "prefixed", max_tokens=5, prefix=(7,)), Silent())
    with store.session() as session:
        without, with_prefix = read_all(session, plain), read_all(session, prefixed)
    assert with_prefix[0].tolist() == [7, *without[0][:4].tolist()]
    assert with_prefix[1].tolist() == [7]
    assert with_prefix[2].tolist() == [7, *without[2].tolist()]
    # The first token of a text is a prediction then: 4, 0 and 1 of them.
    assert prefixed.n_predictions == 5


def test_a_name_that_belongs_to_another_corpus_is_refused(store: Store, tmp_path: Path) -> None:
    add_corpus(store, spec_of(written(tmp_path, ["some words"])), Silent())
    before = dump(store)
    with pytest.raises(InvalidInputError, match="small belongs to another corpus"):
        add_corpus(store, spec_of(written(tmp_path, ["other words"])), Silent())
    assert dump(store) == before


BAD_SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"name": "../x"}, "name is '../x'"),
    "length": ({"max_tokens": 1}, "max_tokens is 1"),
    "prefix": ({"prefix": (2048,)}, "prefix token 2048"),
    "long prefix": ({"prefix": (1, 2)}, r"prefix is \(1, 2\)"),
    "negative prefix": ({"prefix": (-1,)}, r"prefix\[0\] is -1"),
    "no tokenizer": ({"tokenizer": Path("none.json")}, r"none\.json is not a file"),
    "another file's tokenizer": ({"tokenizer": Path(__file__)}, "tokenizer cannot be read"),
    "nothing to predict": ({"limit": 1}, "has two tokens"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_a_refused_corpus_leaves_the_store_as_it_was(
    store: Store, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = written(tmp_path, ["a", "many words of text"])
    before = dump(store)
    with pytest.raises(InvalidInputError, match=message):
        add_corpus(store, spec_of(file, **changes), Silent())
    assert dump(store) == before


def test_an_error_in_the_last_line_leaves_the_store_as_it_was(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ["many words of text"] * 600)
    file.write_text(file.read_text() + "{")
    before = dump(store)
    with pytest.raises(InvalidInputError, match="line 601 is not JSON"):
        add_corpus(store, spec_of(file), Silent())
    assert dump(store) == before


def test_corpora_share_one_row_of_their_tokenizer(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, ["many words of text"])
    plain_corpus = add_corpus(store, spec_of(file, "one"), Silent())
    prefixed_corpus = add_corpus(store, spec_of(file, "two", prefix=(0,)), Silent())
    assert plain_corpus.tokenizer_id == prefixed_corpus.tokenizer_id
    with store.session() as session:
        row = session.get_one(Corpus, plain_corpus.id).tokenizer
        assert row.json == TOKENIZER.read_bytes()
        assert row.vocabulary_size == 2048
