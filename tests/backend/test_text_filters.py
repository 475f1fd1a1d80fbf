"""Text filters: hits and the predictions they belong to, against a slow loop; hostile patterns."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.read.reader import open_reader
from backend.search import token_filters
from backend.search.text_filters import TextFilter, TextMatches, text_mask
from backend.search.token_filters import target_ids
from backend.settings import Settings
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named
from backend.store.tables import Corpus, Document
from tests.stores import TOKENIZER

TEXTS = [
    "aaa aaaa\nthe kernel returns the kernel",
    "a🜂b 👩‍🔬 漢字かな交じり文 naïve Ωμέγα 🜂🜂",
    "x",
    "",
    "def f(x):\n    return x + 1\n\n\n    # the end",
    "🜂" * 40,  # cut inside a character
    "<|endoftext|> the \t tabs \u2028 &lt;b&gt; " * 3,
    "the cat. The end",
]
SOURCES = ["wiki/a", "wiki/b", "Wiki/a", "code*", "wiki/a", "100%", "100x", "code"]
LONG = 60.0


@pytest.fixture(scope="module", params=[(), (0,)], ids=["plain", "prefix"])
def store_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A corpus of odd documents in chunks of a few, without and with a prefix."""
    folder = tmp_path_factory.mktemp("texts")
    store = open_store(Settings(data_dir=folder / "data"))
    add(store, folder, request.param)
    yield store
    store.engine.dispose()


def add(store: Store, folder: Path, prefix: tuple[int, ...], name: str = "texts") -> Corpus:
    lines = [
        json.dumps({"id": str(n), "source": source, "text": text})
        for n, (text, source) in enumerate(zip(TEXTS, SOURCES, strict=True))
    ]
    file = folder / "texts.jsonl"
    file.write_text("\n".join(lines))
    spec = CorpusSpec(
        name=name,
        files=[file],
        tokenizer=TOKENIZER,
        max_tokens=64,
        prefix=prefix,
        chunk_predictions=40,
    )
    return add_corpus(store, spec, Silent())


def match_text(store: Store, requested: TextFilter, deadline_s: float = LONG) -> TextMatches:
    with store.session() as session:
        return text_mask(store, session, corpus_named(session, "texts"), requested, deadline_s)


def mask_of(store: Store, requested: TextFilter) -> list[bool]:
    matches = match_text(store, requested)
    assert matches.truncated is None
    assert matches.mask is not None
    return [bool(value) for value in matches.mask]


def last_characters(text: str, expected: TextFilter) -> list[set[int]]:
    """For each search asked for, the indexes of the characters that end a hit."""
    searches = []
    if expected.text is not None:
        size = len(expected.text)
        starts = range(len(text) - size + 1)
        searches.append({at + size - 1 for at in starts if text[at : at + size] == expected.text})
    if expected.regex is not None:
        matches = re.finditer(expected.regex, text)
        searches.append({m.end() - 1 for m in matches if m.end() > m.start()})
    return searches


def characters_of_tokens(pieces: list[bytes], text: str) -> list[set[int]]:
    """The indexes of the characters that share a byte with each token, byte by byte."""
    owner = [n for n, character in enumerate(text) for _ in character.encode()]
    places, at = [], 0
    for piece in pieces:
        places.append(set(owner[at : at + len(piece)]))
        at += len(piece)
    return places


def slow_mask(store: Store, request: TextFilter) -> list[bool]:
    """The definition, in a loop over every token of every document."""
    answer: list[bool] = []
    with store.session() as session:
        corpus = corpus_named(session, "texts")
        read = open_reader(store, session, corpus)
        words, prefix = read.vocabulary, len(corpus.prefix)
        texts = session.scalars(select(Document.text).order_by(Document.index)).all()
    for d, (text, source) in enumerate(zip(texts, SOURCES, strict=True)):
        ids = read.token_ids(d)
        pieces = [b""] * prefix + [words.bytes[i] for i in ids[prefix:]]
        hits = last_characters(text, request)
        characters = characters_of_tokens(pieces, text)
        for position in range(1, len(ids)):
            displayed = words.text(ids[position])
            answer.append(
                all(characters[position] & hit for hit in hits)
                and request.document in {None, d}
                and (request.token is None or ids[position] == int(request.token[1:]))
                and (
                    request.token_pattern is None
                    or re.search(request.token_pattern.replace("$", r"\Z"), displayed) is not None
                )
                and (request.source is None or is_of(source, request.source))
            )
    return answer


def is_of(source: str, expected: str) -> bool:
    return source.startswith(expected[:-1]) if expected.endswith("*") else source == expected


# Pieces in which RE2 and `re` mean the same.
PARTS = ["a", "e", "the", " ", r"\n", ".", "[a-e]", "[^a]", "🜂", "漢", "é|ï", r"\d", "x?"]
REGEX = st.lists(st.sampled_from([*PARTS, "(?:a|aa)+", "(?:th)*", "r.*"]), min_size=1).map("".join)
PIECE = st.one_of(
    st.sampled_from(["a", "aa", "the", "the kernel", "🜂", "🜂🜂", " ", "\n", "字", "ab", "q"]),
    st.sampled_from(TEXTS).flatmap(
        lambda text: st.tuples(st.integers(0, 60), st.integers(1, 12)).map(
            lambda at: text[at[0] : at[0] + at[1]] or "a"
        )
    ),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    text_filter=st.builds(
        TextFilter,
        text=st.none() | PIECE,
        regex=st.none() | REGEX,
        token=st.none() | st.sampled_from(["#69", "#262", "#0", "#1"]),
        token_pattern=st.none() | st.sampled_from(["a", "^ ", "e$", ".", "[0-9]", "^$", "\ufffd"]),
        source=st.none() | st.sampled_from(["wiki/a", "wiki/*", "*", "code*", "100%", "1*"]),
        document=st.none() | st.integers(0, len(TEXTS) - 1),
    )
)
def test_a_mask_is_what_a_loop_over_every_token_finds(
    store_of: Store, text_filter: TextFilter
) -> None:
    if text_filter == TextFilter():
        assert match_text(store_of, text_filter) == TextMatches(None)
    else:
        assert mask_of(store_of, text_filter) == slow_mask(store_of, text_filter)


def test_occurrences_of_a_text_overlap_and_matches_of_a_pattern_do_not(store_of: Store) -> None:
    single = mask_of(store_of, TextFilter(text="🜂", document=5))
    by_text = mask_of(store_of, TextFilter(text="🜂🜂", document=5))
    by_regex = mask_of(store_of, TextFilter(regex="🜂🜂", document=5))
    assert sum(by_text) >= sum(single) - 4, "every character but the first ends an occurrence"
    assert 0.4 < sum(by_regex) / sum(by_text) < 0.6, "every second one ends a match"


def test_a_hit_in_the_first_token_is_a_prediction_only_after_a_prefix(store_of: Store) -> None:
    with store_of.session() as session:
        has_prefix = bool(corpus_named(session, "texts").prefix)
    assert sum(mask_of(store_of, TextFilter(regex="^x", document=2))) == has_prefix


def test_the_prefix_is_never_an_answer_and_has_no_text(store_of: Store) -> None:
    inside = mask_of(store_of, TextFilter(text="<|endoftext|>"))
    assert inside == slow_mask(store_of, TextFilter(text="<|endoftext|>"))
    assert any(inside), "it is written in one of the documents"


def test_targets_are_the_tokens_after_the_first(store_of: Store) -> None:
    with store_of.session() as session:
        read = open_reader(store_of, session, corpus_named(session, "texts"))
    expected = [i for d in range(len(TEXTS)) for i in read.token_ids(d)[1:]]
    assert target_ids(store_of, read).tolist() == expected


def test_a_token_by_its_text_is_the_token_by_its_id(store_of: Store) -> None:
    with store_of.session() as session:
        words = open_reader(store_of, session, corpus_named(session, "texts")).vocabulary
    token_id = words.bytes.index(b" the")
    by_text = mask_of(store_of, TextFilter(token=" the"))
    assert by_text == mask_of(store_of, TextFilter(token=f"#{token_id}"))
    assert any(by_text)


BAD: dict[str, tuple[TextFilter, str, str]] = {
    "empty text": (TextFilter(text=""), "text", "has 0 characters"),
    "long text": (TextFilter(text="a" * 1001), "text", "1001 characters"),
    "zero byte": (TextFilter(text="a\0"), "text", "zero byte"),
    "surrogate": (TextFilter(regex="\ud800"), "regex", "surrogate"),
    "long regex": (TextFilter(regex="a" * 501), "regex", "501 characters"),
    "open": (TextFilter(regex="a(b"), "regex", "missing .* at character 3"),
    "closed": (TextFilter(regex=r"a\)b)c"), "regex", r"unexpected \) at character 5"),
    "star": (TextFilter(token_pattern="日本*+"), "token_pattern", "at character 3"),
    "look-ahead": (TextFilter(regex="abc(?=d)"), "regex", "at character 4"),
    "back-reference": (TextFilter(regex=r"(a)\1"), "regex", "at character 4"),
    "class": (TextFilter(regex="[a-z][z-a]"), "regex", "'z-a' at character 7"),
    "end": (TextFilter(regex="ab\\"), "regex", "at character 3"),
    "counts": (TextFilter(regex="((a{100}){100}){100}"), "regex", "invalid repetition size"),
    "large": (TextFilter(regex=r"\pL{500}"), "regex", "compiles to more than"),
    "larger": (TextFilter(token_pattern="[^a]{900}b{900}c{900}"), "token_pattern", "more than"),
    "no token": (TextFilter(token="kernel returns"), "token", "exactly 'kernel returns'"),
    "no id": (TextFilter(token="#2048"), "token", "not in the tokenizer's 0 … 2047"),
    "no source": (TextFilter(source="wiki"), "source", "has source 'wiki'"),
    "no document": (TextFilter(document=8), "document", "no document 8"),
    "negative": (TextFilter(document=-1), "document", "no document -1"),
}


@pytest.mark.parametrize(("requested", "field", "problem"), BAD.values(), ids=BAD.keys())
def test_a_filter_that_cannot_be_used_is_named_with_a_remedy(
    store_of: Store, requested: TextFilter, field: str, problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        match_text(store_of, requested)
    assert caught.value.parameter == field
    assert caught.value.remedy


def test_a_token_that_is_only_known_after_a_space_is_suggested(store_of: Store) -> None:
    with store_of.session() as session:
        words = open_reader(store_of, session, corpus_named(session, "texts")).vocabulary
    held = set(words.bytes)
    text = next(b[1:].decode() for b in held if b[:1] == b" " and b[1:] and b[1:] not in held)
    with pytest.raises(InvalidInputError) as caught:
        match_text(store_of, TextFilter(token=text))
    assert f"' {text}' is one" in caught.value.remedy


HOSTILE = [
    r"(a+)+$",
    r"(x+x+)+y",
    r"(?:.?){150}.{150}zz",
    r"(.*)*(.*)*(.*)*!",
    r"(?s).*.*.*.*=.*",
    r"(a|aa|aaa)*b|[ab]*a[ab]{400}c",
    "(" * 240 + ")" * 240,
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile_patterns_end_within_their_deadline(store_of: Store, pattern: str) -> None:
    start = time.monotonic()
    matches = match_text(store_of, TextFilter(regex=pattern), deadline_s=2)
    assert time.monotonic() - start < 4
    assert matches.mask is not None


def test_a_deadline_says_how_far_it_got(store_of: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = match_text(store_of, TextFilter(text="e"))
    now = iter(range(10**6))
    monkeypatch.setattr(token_filters, "monotonic", lambda: next(now))
    with store_of.session() as session:
        corpus = corpus_named(session, "texts")
        monkeypatch.setattr("backend.search.text_filters.monotonic", lambda: 0)
        part = text_mask(store_of, session, corpus, TextFilter(text="e"), 2)
    total = 7 if corpus.prefix else 6  # after a prefix, one token is a prediction
    reason = r"the time limit of 2 s was reached: 2 of (\d) documents were searched"
    match = re.fullmatch(reason, str(part.truncated))
    assert match is not None, part.truncated
    assert int(match[1]) == total
    assert part.mask is not None
    assert whole.mask is not None
    assert part.mask.any()
    assert (part.mask <= whole.mask).all()
    assert part.mask.sum() < whole.mask.sum()


def test_no_time_at_all_finds_nothing_and_says_so(
    store_of: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_filters, "_tables", {})
    for requested in (TextFilter(regex="a"), TextFilter(token_pattern="zz+y")):
        matches = match_text(store_of, requested, deadline_s=0)
        assert matches.mask is not None
        assert not matches.mask.any()
        assert "time limit of 0 s" in str(matches.truncated)
        assert " 0 of " in str(matches.truncated)
    # What was not tried on the whole vocabulary is not kept.
    assert match_text(store_of, TextFilter(token_pattern="zz+y")).truncated is None


def test_filters_are_joined_by_and(store_of: Store) -> None:
    item, two = TextFilter(text="the"), TextFilter(source="wiki/*")
    both = mask_of(store_of, replace(item, source=two.source))
    masks = mask_of(store_of, item), mask_of(store_of, two)
    assert both == [a and b for a, b in zip(*masks, strict=True)]
    assert any(both)


def test_ten_million_answers_are_look_up_in_less_than_half_a_second() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 50_000, 10_000_000).astype(np.uint16)
    table = rng.random(50_001) < 0.1
    start = time.perf_counter()
    mask = token_filters._look_up(table, targets)
    assert time.perf_counter() - start < 0.5
    np.testing.assert_array_equal(mask[:1000], [table[i] for i in targets[:1000]])


def test_the_same_on_both_databases(any_store: Store, tmp_path: Path) -> None:
    add(any_store, tmp_path, (0,))
    expected = TextFilter(regex="[a-z]e", source="wiki/*", token_pattern="e")
    assert mask_of(any_store, expected) == slow_mask(any_store, expected)
    assert any(mask_of(any_store, expected))
    with pytest.raises(InvalidInputError, match="WIKI"):
        match_text(any_store, TextFilter(source="WIKI/*"))


def test_a_session_is_left_without_documents(store_of: Store) -> None:
    with store_of.session() as session:
        text_mask(store_of, session, corpus_named(session, "texts"), TextFilter(text="a"), LONG)
        assert held(session) <= {"Corpus", "Tokenizer"}


def held(session: Session) -> set[str]:
    return {type(row).__name__ for row in session.identity_map.values()}
