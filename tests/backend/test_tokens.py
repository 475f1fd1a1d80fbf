"""Token ids as text: bytes of every id, and characters split over tokens."""

import json
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from backend.errors import InvalidInputError
from backend.read.tokens import BYTE_OF, REPLACEMENT, Vocabulary, parse_tokenizer
from tests.stores import CHARACTERS, TOKENIZER


@cache
def tokenizer() -> Tokenizer:
    return parse_tokenizer(TOKENIZER.read_bytes())


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(tokenizer())


def ids_of(text: str) -> list[int]:
    ids: list[int] = tokenizer().encode(text, add_special_tokens=False).ids
    return ids


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(data=st.binary(max_size=60))
def test_byte_table_is_that_of_the_tokenizers_library(data: bytes) -> None:
    stand_in = {byte: character for character, byte in BYTE_OF.items()}
    assert len(BYTE_OF) == len(stand_in) == 256
    written = "".join(stand_in[byte] for byte in data)
    assert ByteLevel().decode([written]) == data.decode("utf-8", errors="replace")


@given(text=TEXT)
def test_bytes_of_tokens_joined_are_the_text(text: str) -> None:
    ids = ids_of(text)
    assert b"".join(vocabulary().bytes[i] for i in ids).decode() == text
    assert tokenizer().decode(ids) == text


@given(text=st.one_of(TEXT, st.sampled_from([CHARACTERS, "👩‍🔬👩‍🔬", "漢字かな"])))
def test_what_is_shown_is_the_text_and_split_characters_are_joined(text: str) -> None:
    ids = ids_of(text)
    tokens = vocabulary().tokens(ids)
    assert [token.id for token in tokens] == ids
    assert "".join(token.shown for token in tokens) == text


def test_every_token_of_a_split_character_names_the_others() -> None:
    ids = ids_of("a🜂b")
    assert len(ids) > 3, "the tokenizer splits this character"
    first, *middle, last = vocabulary().tokens(ids)
    split = tuple(ids[1:-1])
    assert (first.shown, first.part_of) == ("a", ())
    assert (last.shown, last.part_of) == ("b", ())
    assert [token.shown for token in middle] == ["🜂", *[""] * (len(split) - 1)]
    assert {token.part_of for token in middle} == {split}


@given(ids=st.lists(st.integers(-3, 4200), max_size=30))
def test_any_sequence_of_ids_is_shown_one_token_an_id(ids: list[int]) -> None:
    tokens = vocabulary().tokens(ids)
    assert [token.id for token in tokens] == ids
    for token in tokens:
        assert token.part_of == () or token.id in token.part_of


@pytest.mark.parametrize("token_id", [-1, 2048, 10**9])
def test_an_id_outside_the_vocabulary_is_the_replacement_sign(token_id: int) -> None:
    assert vocabulary().text(token_id) == REPLACEMENT


def test_an_unfinished_character_is_not_joined_with_what_cannot_end_it() -> None:
    half = ids_of("🜂")[:-1]
    tokens = vocabulary().tokens([*half, *ids_of("x")])
    # Each says that it is part of a character, the others of which are not there.
    assert [token.part_of for token in tokens] == [*((i,) for i in half), ()]
    assert tokens[-1].shown == "x"
    assert REPLACEMENT in tokens[0].shown


def test_special_tokens_are_shown_as_they_are_written() -> None:
    (end,) = vocabulary().tokens([0])
    assert end.shown == "<|endoftext|>"


def sentencepiece(pieces: Sequence[str]) -> Vocabulary:
    """A vocabulary as Llama's: spaces as U+2581, unknown bytes as <0x0A>."""
    vocab = {piece: i for i, piece in enumerate(["<unk>", *pieces])}
    decoder = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ],
    }
    model = {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True}
    document = {"version": "1.0", "model": model, "decoder": decoder, "added_tokens": []}
    return Vocabulary(parse_tokenizer(json.dumps(document).encode()))


def test_sentencepiece_pieces_are_their_own_text() -> None:
    pieces = ["▁the", "é", "café", "Ċ", "Ġa", "漢", "<0xZZ>"]
    displayed = [t.shown for t in sentencepiece(pieces).tokens(range(1, len(pieces) + 1))]
    assert displayed == [" the", "é", "café", "Ċ", "Ġa", "漢", "<0xZZ>"]


def test_sentencepiece_bytes_are_joined_to_characters() -> None:
    words = sentencepiece(["<0x0A>", *(f"<0x{b:02X}>" for b in "🜂".encode()), "x"])
    displayed = [t.shown for t in words.tokens([1, 2, 3, 4, 5, 6])]
    assert displayed == ["\n", "🜂", "", "", "", "x"]


def test_text_of_a_byte_level_token_that_looks_like_a_byte_is_its_text() -> None:
    document = json.loads(TOKENIZER.read_bytes())
    document["model"]["vocab"]["<0x0A>"] = 2048
    words = Vocabulary(parse_tokenizer(json.dumps(document).encode()))
    assert words.text(2048) == "<0x0A>"


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[1]"])
def test_what_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="tokenizer cannot be read"):
        parse_tokenizer(data)
