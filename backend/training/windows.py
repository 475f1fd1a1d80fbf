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
# Runs of text this long in common with training text would measure memorization.
OVERLAP_CHARACTERS = 60
MAX_OVERLAP = 0.1
WINDOW_CHARACTERS = 6  # source characters per token: enough to fill a window with any tokenizer
WINDOWS_APART = 2  # stride between windows of one document, in windows


@dataclass(frozen=True)
class Split:
    """Training documents and held-out documents."""

    training: list[CleanDocument]
    held_out: list[CleanDocument]


def split(documents: Sequence[CleanDocument], data: Data) -> Split:
    """Split documents by a hash of their ids, independently of each other."""

    def is_out(document: CleanDocument) -> bool:
        value = int.from_bytes(
            blake2b(f"{data.seed}/{document.id}".encode(), digest_size=8).digest()
        )
        return value / 2**64 < data.held_out_share

    out = [d for d in documents if is_out(d)]
    return Split([d for d in documents if not is_out(d)], out)


def train_tokenizer(documents: Sequence[CleanDocument], data: Data) -> Tokenizer:
    """Train a byte-level BPE tokenizer on shuffled documents; id 0 is `<|endoftext|>`.

    Training stops after `tokenizer_bytes` of text.
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
    texts, n_characters = [], 0
    for index in order.tolist():
        texts.append(documents[index].text)
        n_characters += len(texts[-1])
        if n_characters >= data.tokenizer_bytes:
            break
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_training_windows(
    documents: Sequence[CleanDocument], tokenizer: Tokenizer, data: Data, path: Path
) -> NDArray[np.uint16]:
    """Write all training windows to `path` (.npy) and return them, shape (windows, context).

    Documents are shuffled and separated by `<|endoftext|>`; every window starts with
    `<|endoftext|>`, like the documents of a corpus with that prefix.
    """
    end = tokenizer.token_to_id(END_OF_TEXT)
    order = np.random.default_rng([data.seed, 1]).permutation(len(documents)).tolist()
    parts: list[NDArray[np.uint16]] = []
    for first in range(0, len(order), 256):
        texts = [documents[i].text for i in order[first : first + 256]]
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            parts.append(np.array([*encoding.ids, end], np.uint16))
    stream = np.concatenate(parts)
    n_tokens = data.context - 1
    count = len(stream) // n_tokens
    if count < 1:
        raise InvalidInputError(
            f"the corpus has {len(stream)} tokens, one window needs {n_tokens}", "Add text"
        )
    windows = np.full((count, data.context), end, np.uint16)
    windows[:, 1:] = stream[: count * n_tokens].reshape(count, n_tokens)
    part = path.with_suffix(".part.npy")
    np.save(part, windows, allow_pickle=False)
    os.replace(part, path)
    return windows


def _runs(text: str) -> set[bytes]:
    """Return hashes of the 60 characters that start at each word, with white space collapsed."""
    words = text.split()
    line, starts = " ".join(words), np.cumsum([0, *(len(w) + 1 for w in words)])[:-1]
    return {
        blake2b(line[index : index + OVERLAP_CHARACTERS].encode(), digest_size=8).digest()
        for index in starts[starts <= len(line) - OVERLAP_CHARACTERS].tolist()
    }


def training_overlap(
    training: Iterable[CleanDocument], windows: Sequence[str]
) -> NDArray[np.float64]:
    """Return, for each window, the share of its 60-character runs that occur in training text.

    A window too short for a run counts as fully overlapping.
    """
    runs_by_window = [_runs(window) for window in windows]
    all_runs = set().union(*runs_by_window)
    training_runs: set[bytes] = set()
    for document in training:
        training_runs |= all_runs & _runs(document.text)
    return np.array(
        [len(runs & training_runs) / len(runs) if runs else 1.0 for runs in runs_by_window]
    )


def _inner_windows(text: str, size: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield (start, window) at random line starts of a text, without overlap."""
    stride = WINDOWS_APART * size
    for first in range(0, max(1, len(text) - size // 2), stride):
        n_tokens = max(1, min(stride, len(text) - first) - size)
        index = first + int(rng.integers(0, n_tokens))
        start = text.find("\n", index, index + size // 2) + 1 if index else 0
        window = text[start : start + size]
        if (start or not index) and len(window) >= size // 2:
            yield start, window


def held_out_windows(parts: Split, data: Data) -> list[dict[str, str]]:
    """Return windows from inside held-out documents, as rows of `documents.jsonl`.

    Sources alternate; no window shares more than a tenth of its 60-character runs with
    training text. Ids are `DOCUMENT@CHARACTER`.
    """
    rng = np.random.default_rng([data.seed, 2])
    candidates: dict[str, list[tuple[str, CleanDocument, str]]] = {}
    for index in rng.permutation(len(parts.held_out)).tolist():
        document = parts.held_out[index]
        for start, window in _inner_windows(document.text, data.context * WINDOW_CHARACTERS, rng):
            candidates.setdefault(document.source.name, []).append(
                (f"{document.id}@{start}", document, window)
            )
    flat = [pair for pairs in candidates.values() for pair in pairs]
    if not flat:
        raise InvalidInputError("no held-out document is long enough", "Raise held_out_share")
    shares = training_overlap(parts.training, [window for _, _, window in flat])
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


def write_json_lines(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write JSON lines atomically."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(part, path)
