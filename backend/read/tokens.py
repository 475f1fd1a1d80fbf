"""Token ids as text: bytes, characters split over tokens, and the text to show for each.

A byte-level token may hold only part of a character. Its bytes are then joined with those of its
neighbours: the first token shows the character, and each of them lists all of them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session
from tokenizers import Tokenizer as HubTokenizer

from backend.errors import InvalidInputError
from backend.read.views import Token
from backend.store.tables import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's map of printable characters to bytes, used by byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTE_OF = _byte_alphabet()


def parse_tokenizer(data: bytes) -> HubTokenizer:
    """Return the tokenizer of a `tokenizer.json`.

    Raises:
        InvalidInputError: the bytes are not a tokenizer.
    """
    try:
        return HubTokenizer.from_buffer(data)
    except Exception as error:  # the library raises bare Exception
        raise InvalidInputError(
            f"the tokenizer cannot be read ({error})", "Give a tokenizer.json of the models"
        ) from error


def _is_byte_level(tokenizer: HubTokenizer) -> bool:
    document = json.loads(tokenizer.to_str())
    parts = [document.get(part) for part in ("decoder", "pre_tokenizer")]
    return '"ByteLevel"' in json.dumps(parts)


def _token_bytes(text: str, byte_level: bool) -> bytes:
    if byte_level and all(character in BYTE_OF for character in text):
        return bytes(BYTE_OF[character] for character in text)
    # SentencePiece's byte fallback writes single bytes as <0x0A>, and spaces as U+2581.
    if not byte_level and (match := BYTE_PIECE.fullmatch(text)):
        return bytes.fromhex(match[1])
    return text.replace("▁", " ").encode()


class Vocabulary:
    """The bytes of every token id of one tokenizer."""

    def __init__(self, tokenizer: HubTokenizer) -> None:
        added = tokenizer.get_added_tokens_decoder()  # stored as plain text
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        texts = [tokenizer.id_to_token(i) or "" for i in range(size)]
        byte_level = _is_byte_level(tokenizer)
        self.bytes = [
            text.encode() if i in added else _token_bytes(text, byte_level)
            for i, text in enumerate(texts)
        ]
        self._tokens: dict[int, Token] = {}

    def text(self, token_id: int) -> str:
        """Return a token's own text; incomplete characters become replacement characters."""
        if not 0 <= token_id < len(self.bytes):
            return REPLACEMENT
        return self.bytes[token_id].decode("utf-8", errors="replace")

    def token(self, token_id: int) -> Token:
        """Return a token without its context."""
        if token_id not in self._tokens:
            text = self.text(token_id)
            self._tokens[token_id] = Token(text=text, id=token_id, shown=text)
        return self._tokens[token_id]

    def _is_whole(self, token_id: int) -> bool:
        # An id beyond the vocabulary has no bytes and shows as one replacement character.
        return REPLACEMENT not in self.token(token_id).text or not self._raw(token_id)

    def window(self, ids: Sequence[int], first: int, last: int) -> tuple[Token, ...]:
        """Return tokens first..last (exclusive) of a document, as `tokens` returns them.

        Whole tokens are never joined, so joined runs end at the next whole token.
        """
        start, end = first, last
        while start > 0 and not self._is_whole(ids[start - 1]):
            start -= 1
        while end < len(ids) and not self._is_whole(ids[end]):
            end += 1
        return self.tokens(ids[start:end])[first - start : last - start]

    def tokens(self, ids: Sequence[int]) -> tuple[Token, ...]:
        """Return consecutive tokens with split characters joined."""
        joined: list[Token] = []
        start = 0
        while start < len(ids):
            if self._is_whole(ids[start]):
                joined.append(self.token(ids[start]))
                start += 1
                continue
            end = self._whole_until(ids, start)
            joined += self._joined(ids[start:end])
            start = end
        return tuple(joined)

    def _raw(self, token_id: int) -> bytes:
        return self.bytes[token_id] if 0 <= token_id < len(self.bytes) else b""

    def _whole_until(self, ids: Sequence[int], start: int) -> int:
        """Return the end of the shortest run from `start` that decodes to whole characters."""
        joined = b""
        for end in range(start, len(ids)):
            joined += self._raw(ids[end])
            try:
                joined.decode()
            except UnicodeDecodeError as error:
                # Only an incomplete character at the end can be completed by later tokens.
                if error.end != len(joined) or error.reason != "unexpected end of data":
                    return start + 1
            else:
                return end + 1
        return start + 1

    def _joined(self, ids: Sequence[int]) -> list[Token]:
        if len(ids) == 1:
            # An incomplete character whose other tokens are missing, or invalid UTF-8.
            return [replace(self.token(ids[0]), part_of=(ids[0],))]
        whole = b"".join(self._raw(i) for i in ids).decode()
        members = tuple(ids)
        first = Token(text=self.text(ids[0]), id=ids[0], shown=whole, part_of=members)
        rest = [Token(text=self.text(i), id=i, shown="", part_of=members) for i in ids[1:]]
        return [first, *rest]


_by_key: dict[str, Vocabulary] = {}


def vocabulary(session: Session, tokenizer_id: int) -> Vocabulary:
    """Return the vocabulary of a stored tokenizer, parsed once per process."""
    key = session.scalars(select(Tokenizer.key).where(Tokenizer.id == tokenizer_id)).one()
    if key not in _by_key:
        data = session.scalars(select(Tokenizer.json).where(Tokenizer.id == tokenizer_id)).one()
        _by_key[key] = Vocabulary(parse_tokenizer(data))
    return _by_key[key]
