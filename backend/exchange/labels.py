"""Read published cluster labels and the contexts of their samples.

Labels: `{"400": [[label of each sample], ignored, …], …}`, one list per n_clusters. Contexts:
`{"prediction index": {"context": [token strings], "answer": token string}, …}` in the order of the
samples. This is the format of the clusters released with arXiv:2303.13506.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidInputError
from backend.exchange.json_files import read_json, short_repr

N_CLUSTERS_PATTERN = re.compile("[1-9][0-9]{0,8}")
PREDICTION_PATTERN = re.compile("[0-9]{1,18}")
MAX_CONTEXT = 1_048_575
LABELS_FORMAT = 'Write {"400": [[label of each sample], …], …}'
CONTEXTS_FORMAT = (
    'Write {"123": {"context": ["a", " b"], "answer": " c"}, …}, one per sample, in order'
)


@dataclass(frozen=True)
class SampleContext:
    """One sample: its published index, the tokens before it, and its own token."""

    index: int
    context: tuple[str, ...]
    answer: str


def _labels(value: object, n_clusters: int, where: str) -> NDArray[np.int32]:
    labels = value[0] if isinstance(value, list) and value else None
    if not isinstance(labels, list) or not labels:
        raise InvalidInputError(
            f"{where} has no list of labels as its first element", LABELS_FORMAT
        )
    for sample, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < n_clusters:  # True is an int
            raise InvalidInputError(
                f"{where}: the label of sample {sample} is {short_repr(label)}",
                f"Give integers from 0 to {n_clusters - 1}",
            )
    return np.array(labels, np.int32)


def read_labels(path: Path) -> dict[int, NDArray[np.int32]]:
    """Return the labels of every sample for each n_clusters, ascending.

    Raises:
        InvalidInputError: another format, or lists of different lengths.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not document:
        raise InvalidInputError(f"{path} does not contain an object with labels", LABELS_FORMAT)
    for name in document:
        if not N_CLUSTERS_PATTERN.fullmatch(name):
            raise InvalidInputError(f"{path}: n_clusters is {short_repr(name)}", LABELS_FORMAT)
    labels_by_n_clusters = {
        int(name): _labels(document[name], int(name), f"{path}, n_clusters {name}")
        for name in sorted(document, key=int)
    }
    first = next(iter(labels_by_n_clusters))
    for n_clusters, labels in labels_by_n_clusters.items():
        if len(labels) != len(labels_by_n_clusters[first]):
            raise InvalidInputError(
                f"{path}: n_clusters {n_clusters} has {len(labels)} labels, n_clusters {first} has "
                f"{len(labels_by_n_clusters[first])}",
                "Give every n_clusters one label per sample",
            )
    return labels_by_n_clusters


def _token(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{where} is {short_repr(value)}, not a string", CONTEXTS_FORMAT)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{where} contains an unpaired surrogate", "Write it as UTF-8 text"
        ) from error
    return value


def _sample(name: str, record: object, path: Path) -> SampleContext:
    where = f"{path}, prediction {short_repr(name)}"
    if not PREDICTION_PATTERN.fullmatch(name) or not isinstance(record, dict):
        raise InvalidInputError(f"{where} is {short_repr(record)}", CONTEXTS_FORMAT)
    context = record.get("context")
    if not isinstance(context, list) or not 1 <= len(context) <= MAX_CONTEXT:
        raise InvalidInputError(
            f"{where} has no context of 1 to {MAX_CONTEXT} tokens", CONTEXTS_FORMAT
        )
    tokens = tuple(_token(t, f"{where}: token {i}") for i, t in enumerate(context))
    return SampleContext(int(name), tokens, _token(record.get("answer"), f"{where}: answer"))


def read_contexts(path: Path, n_samples: int) -> tuple[SampleContext, ...]:
    """Return the contexts of all samples, in file order.

    Raises:
        InvalidInputError: another format, or not one context per sample.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InvalidInputError(f"{path} does not contain an object with contexts", CONTEXTS_FORMAT)
    if len(document) != n_samples:
        raise InvalidInputError(
            f"{path} has {len(document)} contexts, the labels have {n_samples} samples",
            "Give one context for every sample, in their order",
        )
    return tuple(_sample(name, record, path) for name, record in document.items())


def sort_labels_by_size(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[int]]:
    """Return (labels renumbered so that 0 is the largest cluster, sizes); ties by first sample.

    Labels without samples are dropped.
    """
    _, first, compact, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(sizes), np.int32)
    rank[order] = np.arange(len(sizes), dtype=np.int32)
    return rank[compact], sizes[order].tolist()


def build_vocabulary(samples: Sequence[SampleContext]) -> dict[str, int]:
    """Return an id for every distinct token string, in order of first use."""
    ids: dict[str, int] = {}
    for sample in samples:
        for token in (*sample.context, sample.answer):
            ids.setdefault(token, len(ids))
    return ids


def tokenizer_json(vocabulary: dict[str, int]) -> bytes:
    """Return a `tokenizer.json` whose tokens are exactly these strings."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    added = [
        {"id": number, "content": token, **flags}
        for token, number in vocabulary.items()
        # The decoder would read these as a space and a byte; added tokens are literal.
        if "▁" in token or token.startswith("<0x")
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def content_digest(
    labels: dict[int, NDArray[np.int32]], samples: Sequence[SampleContext] | None
) -> str:
    """Return one hash over all labels and contexts."""
    digest = hashlib.sha256()
    for n_clusters, values in labels.items():
        digest.update(f"{n_clusters}:".encode() + values.astype("<i4").tobytes())
    for sample in samples or ():
        digest.update(json.dumps([sample.index, sample.context, sample.answer]).encode())
    return digest.hexdigest()
