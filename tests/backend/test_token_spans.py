"""Places of tokens in text, for tokenizers whose tokens are not simply the text in pieces."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from backend.read.token_spans import TokenPlaces
from backend.read.tokens import Vocabulary, parse_tokenizer
from tests.stores import CHARACTERS, TOKENIZER


@cache
def llama(lowercase: bool = False) -> tuple[bytes, Tokenizer, Vocabulary]:
    """A tokenizer as Llama's: a space before the text, bytes of unknown characters as <0xF0>."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *"abcdehlort", "th", "▁th", "▁the", "ll"]
    merges = [["t", "h"], ["▁", "th"], ["▁th", "e"], ["l", "l"]]
    normalizers = [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    if lowercase:
        normalizers.insert(0, {"type": "Lowercase"})
    document = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "model": {
            "type": "BPE",
            "vocab": {piece: n for n, piece in enumerate(pieces)},
            "merges": merges,
            "byte_fallback": True,
            "unk_token": "<unk>",
        },
        "decoder": {"type": "ByteFallback"},
    }
    data = json.dumps(document).encode()
    tokenizer = parse_tokenizer(data)
    return data, tokenizer, Vocabulary(tokenizer)


def pieces_of(text: str, n_tokens: int | None = None, lowercase: bool = False) -> list[str]:
    """What `spans` says that each token stands for."""
    data, tokenizer, words = llama(lowercase)
    ids = np.array(tokenizer.encode(text).ids[:n_tokens], np.uint16)
    spans = TokenPlaces(data, words).spans(ids, text.encode())
    return [
        text.encode()[a:b].decode(errors="replace")
        for a, b in zip(spans.starts, spans.ends, strict=True)
    ]


def test_a_space_that_was_put_before_the_text_is_no_part_of_it() -> None:
    assert pieces_of("the all the") == ["the", " ", "a", "ll", " the"]


def test_normalised_text_is_found_in_what_was_written() -> None:
    assert pieces_of("The ALL", lowercase=True) == ["The", " ", "A", "LL"]


def test_bytes_of_a_split_character_all_stand_for_all_of_it() -> None:
    # The space before the text is a token of its own here; the library puts it at the first letter.
    assert pieces_of("a🜂b") == ["a", "a", "🜂", "🜂", "🜂", "🜂", "b"]
    assert pieces_of("é all", lowercase=True)[-5:] == ["é", "é", " ", "a", "ll"]


def test_tokens_overlap_the_character_that_they_share() -> None:
    data, tokenizer, words = llama()
    text = "a🜂b".encode()
    spans = TokenPlaces(data, words).spans(np.array(tokenizer.encode("a🜂b").ids), text)
    hit = spans.overlapping(np.array([1]), np.array([5]))
    assert hit.tolist() == [False, False, True, True, True, True, False]


def test_what_a_cut_left_behind_follows_what_is_known() -> None:
    data, tokenizer, words = llama()
    # The whole text had "ll" here; cut after its first letter, it is tokenised as "l".
    ids = np.array(tokenizer.encode("the all").ids, np.uint16)
    spans = TokenPlaces(data, words).spans(ids, b"the al")
    assert spans.starts.tolist() == [0, 3, 4, 5]
    assert spans.ends.tolist() == [3, 4, 5, 6]


ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0▁"), max_size=40)


@settings(deadline=None)
@given(text=ANY, lowercase=st.booleans())
def test_places_never_fall_and_cover_the_text(text: str, lowercase: bool) -> None:
    data, tokenizer, words = llama(lowercase)
    spans = TokenPlaces(data, words).spans(np.array(tokenizer.encode(text).ids), text.encode())
    assert (np.diff(spans.starts) >= 0).all()
    assert (np.diff(spans.ends) >= 0).all()
    covered = {at for a, b in zip(spans.starts, spans.ends, strict=True) for at in range(a, b)}
    assert covered == set(range(len(text.encode())))


@cache
def byte_level() -> tuple[TokenPlaces, Tokenizer, Vocabulary]:
    data = TOKENIZER.read_bytes()
    tokenizer = parse_tokenizer(data)
    words = Vocabulary(tokenizer)
    return TokenPlaces(data, words), tokenizer, words


@settings(deadline=None)  # the first example reads the tokenizer
@given(text=ANY | st.just(CHARACTERS), n_tokens=st.integers(0, 30))
def test_byte_level_tokens_are_the_text_in_pieces(text: str, n_tokens: int) -> None:
    places, tokenizer, words = byte_level()
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids = encoding.ids[:n_tokens]
    raw = text[: encoding.offsets[len(ids) - 1][1] if ids else 0].encode()
    spans = places.spans(np.array(ids, np.uint16), raw)
    for token, first, last in zip(ids, spans.starts, spans.ends, strict=True):
        assert raw[first:last] == words.bytes[token]


@pytest.mark.parametrize("text", [b"", b"abc"])
def test_no_tokens_have_no_places(text: bytes) -> None:
    data, _, words = llama()
    spans = TokenPlaces(data, words).spans(np.array([], np.uint16), text)
    assert (len(spans.starts), len(spans.ends)) == (0, 0)
    assert spans.overlapping(np.array([0]), np.array([1])).tolist() == []
