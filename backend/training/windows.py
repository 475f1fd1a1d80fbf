"""Tokenizer, training windows and held-out documents of a recipe's corpus."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from backend.errors import InvalidInputError
from backend.training.cleaning import CleanDocument
from backend.training.recipe import Data

END_OF_TEXT = "<|endoftext|>"
# A held-out window that shares so long a run of text with training would measure memory.
OVERLAP_CHARACTERS = 60
MAX_OVERLAP = 0.1
WINDOW_CHARACTERS = 6  # of source text a token: enough to fill a window with any tokenizer
WINDOWS_APART = 2  # a held-out document gives one window in so many


@dataclass(frozen=True)
class Split:
    """Documents of training, and those kept out of it."""

    training: list[CleanDocument]
    held_out: list[CleanDocument]


def split(documents: Sequence[CleanDocument], data: Data) -> Split:
    """Return a split by a hash of each document's id; it does not depend on the others."""

    def is_out(document: CleanDocument) -> bool:
        value = int.from_bytes(
            blake2b(f"{data.seed}/{document.id}".encode(), digest_size=8).digest()
        )
        return value / 2**64 < data.held_out_share

    out = [d for d in documents if is_out(d)]
    return Split([d for d in documents if not is_out(d)], out)


def trained_tokenizer(documents: Sequence[CleanDocument], data: Data) -> Tokenizer:
    """Return a byte-level BPE tokenizer; id 0 is `<|endoftext|>`.

    Trained on whole documents of every source in turn, up to `tokenizer_bytes`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=data.vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    order = np.random.default_rng(data.seed).permutation(len(documents))
    texts, held = [], 0
    for at in order.tolist():
        texts.append(documents[at].text)
        held += len(texts[-1])
        if held >= data.tokenizer_bytes:
            break
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def training_windows(
    documents: Sequence[CleanDocument], tokenizer: Tokenizer, data: Data, path: Path
) -> NDArray[np.uint16]:
    """Write all training windows to `path` (.npy); return them mapped, (windows, context).

    Documents in shuffled order, `<|endoftext|>` between them; every window begins with
    `<|endoftext|>`, as documents of a corpus with that prefix do.
    """
    end = tokenizer.token_to_id(END_OF_TEXT)
    order = np.random.default_rng([data.seed, 1]).permutation(len(documents)).tolist()
    parts: list[NDArray[np.uint16]] = []
    for first in range(0, len(order), 256):
        texts = [documents[i].text for i in order[first : first + 256]]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            parts.append(np.array([*encoding.ids, end], np.uint16))
    stream = np.concatenate(parts)
    room = data.context - 1
    count = len(stream) // room
    if count < 1:
        raise InvalidInputError(
            f"the corpus has {len(stream)} tokens, one window needs {room}", "Add text"
        )
    windows = np.full((count, data.context), end, np.uint16)
    windows[:, 1:] = stream[: count * room].reshape(count, room)
    part = path.with_suffix(".part.npy")
    np.save(part, windows, allow_pickle=False)
    os.replace(part, path)
    return windows


def _runs(text: str) -> set[bytes]:
    """Return hashes of the next 60 characters from every word on, white space as one blank."""
    words = text.split()
    line, starts = " ".join(words), np.cumsum([0, *(len(w) + 1 for w in words)])[:-1]
    return {
        blake2b(line[at : at + OVERLAP_CHARACTERS].encode(), digest_size=8).digest()
        for at in starts[starts <= len(line) - OVERLAP_CHARACTERS].tolist()
    }


def overlap_with(training: Iterable[CleanDocument], windows: Sequence[str]) -> NDArray[np.float64]:
    """Return, for each window, the share of its 60-character runs that occur in training text.

    A window too short for a run counts as known.
    """
    wanted = [_runs(window) for window in windows]
    every = set().union(*wanted)
    met: set[bytes] = set()
    for document in training:
        met |= every & _runs(document.text)
    return np.array([len(runs & met) / len(runs) if runs else 1.0 for runs in wanted])


def _inner_windows(text: str, size: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield (start, window) at random places of a text, apart from each other, at lines' starts."""
    stride = WINDOWS_APART * size
    for first in range(0, max(1, len(text) - size // 2), stride):
        room = max(1, min(stride, len(text) - first) - size)
        at = first + int(rng.integers(0, room))
        start = text.find("\n", at, at + size // 2) + 1 if at else 0
        window = text[start : start + size]
        if (start or not at) and len(window) >= size // 2:
            yield start, window


def held_out_windows(parts: Split, data: Data) -> list[dict[str, str]]:
    """Return windows from inside held-out documents, as `documents.jsonl` holds them.

    The sources take turns; no window shares more than a tenth of its 60-character runs with
    training text. Ids are `DOCUMENT@CHARACTER`.
    """
    rng = np.random.default_rng([data.seed, 2])
    candidates: dict[str, list[tuple[str, CleanDocument, str]]] = {}
    for at in rng.permutation(len(parts.held_out)).tolist():
        document = parts.held_out[at]
        for start, window in _inner_windows(document.text, data.context * WINDOW_CHARACTERS, rng):
            candidates.setdefault(document.source.name, []).append(
                (f"{document.id}@{start}", document, window)
            )
    flat = [pair for pairs in candidates.values() for pair in pairs]
    if not flat:
        raise InvalidInputError("no held-out document is long enough", "Raise held_out_share")
    shares = overlap_with(parts.training, [window for _, _, window in flat])
    clean = {id(pair): share <= MAX_OVERLAP for pair, share in zip(flat, shares, strict=True)}
    queues = [[p for p in pairs if clean[id(p)]] for pairs in candidates.values()]
    chosen: list[tuple[str, CleanDocument, str]] = []
    while len(chosen) < data.held_out_windows and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return [
        {
            "id": name,
            "source": document.source.name,
            "license": document.source.license,
            "text": window,
        }
        for name, document, window in chosen[: data.held_out_windows]
    ]


def write_lines(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write JSON lines, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(part, path)
