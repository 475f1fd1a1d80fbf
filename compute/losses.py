"""Per-token losses of a causal language model.

A prediction is (document, position >= 1): the context is `tokens[:position]`, the target is
`tokens[position]`; losses are -ln p in nats, with a float32 log-softmax for every model dtype
(arXiv:2303.13506, section 5). Documents are batched by length and padded on the right, where causal
attention ignores the padding, so batching changes a loss by rounding only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from compute.gpt_neox import Body, make_body

PADDING_ID = 0
# With fewer positions per product, reading a large output embedding dominates.
MIN_ROWS = 16

# A leading underscore: each document of a call may have another length.
Tokens = Integer[np.ndarray, " _tokens"]


@dataclass(frozen=True)
class BatchSizes:
    """Bounds on the memory of one batch; they change results by rounding only.

    Attributes:
        tokens: positions per pass through the model's body.
        logits_bytes: float32 logits in memory at a time.
    """

    tokens: int
    logits_bytes: int


# On a CPU 2 MB of logits fit the cache, which halves the time of a small model; a GPU needs large
# matrices.
BATCH_SIZES = {"cpu": BatchSizes(4_096, 2 << 20), "cuda": BatchSizes(65_536, 1 << 30)}


def length_buckets(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield batches of indexes with similar lengths, at most `max_tokens` each after padding.

    An item longer than `max_tokens` is a batch of its own. Batches depend on the lengths only, so
    that the same documents always share a batch.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and lengths[index] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad_rows(rows: Sequence[Sequence[int] | Tokens], device: str) -> Int[Tensor, "rows longest"]:
    """Return rows as one matrix, padded on the right with `PADDING_ID`."""
    longest = max(len(row) for row in rows)
    matrix = np.full((len(rows), longest), PADDING_ID, np.int64)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(matrix).to(device)


@torch.inference_mode()
def has_plain_head(model: Any) -> bool:
    """Return whether logits are exactly the output embedding of the last hidden state.

    Architectures that scale or cap logits need the model's own forward pass.
    """
    head = model.get_output_embeddings()
    if head is None:
        return False
    probe = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    logits = model(input_ids=probe, use_cache=False).logits
    recomputed = head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state)
    # Equal NaN: weights that are not finite are reported with the losses.
    return recomputed.shape == logits.shape and torch.allclose(
        recomputed, logits, rtol=1e-4, atol=1e-4, equal_nan=True
    )


def max_input_length(model: Any) -> int | None:
    """Return the maximum input length of a model with learned position embeddings, else None."""
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    tokens = model.get_input_embeddings()
    tables = [m for m in model.base_model.modules() if isinstance(m, nn.Embedding)]
    learned = any(m.num_embeddings >= positions for m in tables if m is not tokens)
    return positions if learned else None


def rows_per_logits_block(model: Any, logits_bytes: int) -> int:
    """Return the number of positions with at most `logits_bytes` of float32 logits."""
    return max(MIN_ROWS, logits_bytes // (4 * int(model.config.vocab_size)))


def _cross_entropy(
    logits: Float[Tensor, "positions vocabulary"], targets: Int[Tensor, " positions"]
) -> Float[Tensor, " positions"]:
    losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    # -log_softmax can round below zero, or to -0.0, for a token of probability 1.
    return losses.clamp_min(0).abs()


@torch.inference_mode()
def batch_losses(
    model: Any,
    inputs: Int[Tensor, "rows positions"],
    targets: Int[Tensor, "rows positions"],
    *,
    logits_bytes: int,
    body: Body | None,
) -> Float[Tensor, "rows positions"]:
    """Return the loss in nats of each target, given the inputs up to its column.

    `body` computes the input of the output embedding; None uses the model's own logits.
    `logits_bytes` bounds the float32 logits in memory at a time.
    """
    if body is None:
        logits = model(input_ids=inputs, use_cache=False).logits
        return _cross_entropy(logits.flatten(0, 1), targets.flatten()).view_as(targets)
    hidden = body(inputs).flatten(0, 1)
    head, flat_targets = model.get_output_embeddings(), targets.flatten()
    step = rows_per_logits_block(model, logits_bytes)
    parts = zip(torch.split(hidden, step), torch.split(flat_targets, step), strict=True)
    return torch.cat([_cross_entropy(head(h), t) for h, t in parts]).view_as(targets)


def prediction_counts(documents: Sequence[Tokens]) -> Int[np.ndarray, " documents"]:
    """Return the number of predictions of each document: all tokens but the first."""
    return np.array([max(len(document) - 1, 0) for document in documents], np.int64)


def document_batches(
    model: Any, documents: Sequence[Tokens], max_tokens: int
) -> Iterator[tuple[list[int], Int[Tensor, "rows longest"]]]:
    """Yield (numbers of documents, their padded token ids); skip documents without predictions.

    Raises:
        ValueError: a document is longer than the model's positions.
    """
    counts, max_length = prediction_counts(documents), max_input_length(model)
    if max_length is not None and len(counts) and counts.max() > max_length:
        raise ValueError(
            f"document {counts.argmax()} needs {counts.max()} positions, the model has "
            f"{max_length}; cut the corpus to fewer tokens"
        )
    numbers = np.flatnonzero(counts)
    for bucket in length_buckets(counts[numbers].tolist(), max_tokens):
        batch = [int(numbers[i]) for i in bucket]
        yield batch, pad_rows([documents[d] for d in batch], str(model.device))


def document_losses(
    model: Any, documents: Sequence[Tokens], *, sizes: BatchSizes | None = None
) -> Float[np.ndarray, " predictions"]:
    """Return the losses of all predictions of `documents`, in document order.

    Args:
        model: a causal language model in evaluation mode.
        documents: token ids, truncated to the corpus's length; the corpus prefix is position 0.
        sizes: bounds of a batch; default by the model's device.

    Returns:
        float32 nats; a document of n tokens contributes max(n - 1, 0).

    Raises:
        ValueError: a loss is not finite, or a document is longer than the model's positions.
    """
    sizes = sizes or BATCH_SIZES[model.device.type]
    counts = prediction_counts(documents)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    losses = np.empty(offsets[-1], np.float32)
    body = make_body(model) if has_plain_head(model) else None
    for batch, tokens in document_batches(model, documents, sizes.tokens):
        values = batch_losses(
            model, tokens[:, :-1], tokens[:, 1:], logits_bytes=sizes.logits_bytes, body=body
        )
        for row, d in zip(values.cpu().numpy(), batch, strict=True):
            losses[offsets[d] : offsets[d + 1]] = row[: counts[d]]
    if not np.isfinite(losses).all():
        index = int((~np.isfinite(losses)).argmax())
        raise ValueError(f"loss {index} is {losses[index]}; the model's weights or dtype overflow")
    return losses
