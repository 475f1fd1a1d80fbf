"""Per-token losses of a causal language model.

A prediction is (document, position >= 1): the model sees `tokens[:position]` and predicts
`tokens[position]`; losses are -ln p in nats, log-softmax in float32 whatever the model's dtype
(arXiv:2303.13506, section 5). Documents are batched by length and padded on the right, where
causal attention cannot see the padding, so batching changes a loss by rounding only.
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
# Fewer positions than this share one reading of a large output embedding too seldom.
MIN_ROWS = 16

# A leading underscore: documents of one call have lengths of their own.
Tokens = Integer[np.ndarray, " _tokens"]


@dataclass(frozen=True)
class BatchSizes:
    """Bounds on the memory of one batch; they change results by rounding only.

    Attributes:
        tokens: positions that pass through the model's body at once.
        logits_bytes: float32 logits that exist at once.
    """

    tokens: int
    logits_bytes: int


# On a CPU 2 MB of logits stay in the cache, which halves the time of a small model; a GPU wants
# matrices large enough to fill it.
BATCH_SIZES = {"cpu": BatchSizes(4_096, 2 << 20), "cuda": BatchSizes(65_536, 1 << 30)}


def length_buckets(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield index lists of similar lengths; each batch, padded, holds at most `max_tokens`.

    A single item longer than `max_tokens` is a batch of its own. The order depends on the lengths
    alone, so that the same documents always meet in the same batch.
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
    """Return rows as one matrix, padded on the right."""
    longest = max(len(row) for row in rows)
    matrix = np.full((len(rows), longest), PADDING_ID, np.int64)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(matrix).to(device)


@torch.inference_mode()
def has_plain_head(model: Any) -> bool:
    """Whether logits are the output embedding of the last hidden state and nothing else.

    Some architectures scale or cap logits; those must go through the model's own forward pass.
    """
    head = model.get_output_embeddings()
    if head is None:
        return False
    probe = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    whole = model(input_ids=probe, use_cache=False).logits
    parts = head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state)
    # Weights that are not finite are for the losses to refuse, not a matter of the head.
    return parts.shape == whole.shape and torch.allclose(
        parts, whole, rtol=1e-4, atol=1e-4, equal_nan=True
    )


def max_input_length(model: Any) -> int | None:
    """Return the number of positions of a model with learned position embeddings, else None."""
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    tokens = model.get_input_embeddings()
    tables = [m for m in model.base_model.modules() if isinstance(m, nn.Embedding)]
    learned = any(m.num_embeddings >= positions for m in tables if m is not tokens)
    return positions if learned else None


def rows_per_logits_block(model: Any, logits_bytes: int) -> int:
    """Return how many positions' float32 logits are made at once within a bound."""
    return max(MIN_ROWS, logits_bytes // (4 * int(model.config.vocab_size)))


def _cross_entropy(
    logits: Float[Tensor, "positions vocabulary"], targets: Int[Tensor, " positions"]
) -> Float[Tensor, " positions"]:
    losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    # -log_softmax of a certain token can round to just below zero, or to a zero with a sign.
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
    """Return the loss in nats of each target, given the inputs up to and including its column.

    Args:
        model: a causal language model in evaluation mode.
        inputs: token ids.
        targets: the token that follows each of them.
        logits_bytes: bound on the float32 logits that exist at once.
        body: gives what the output embedding multiplies; None where logits are more than that.
    """
    if body is None:
        logits = model(input_ids=inputs, use_cache=False).logits
        return _cross_entropy(logits.flatten(0, 1), targets.flatten()).view_as(targets)
    hidden = body(inputs).flatten(0, 1)
    head, wanted = model.get_output_embeddings(), targets.flatten()
    step = rows_per_logits_block(model, logits_bytes)
    parts = zip(torch.split(hidden, step), torch.split(wanted, step), strict=True)
    return torch.cat([_cross_entropy(head(h), t) for h, t in parts]).view_as(targets)


def document_losses(
    model: Any,
    documents: Sequence[Tokens],
    *,
    sizes: BatchSizes | None = None,
) -> Float[np.ndarray, " predictions"]:
    """Return the losses of all predictions of `documents`, in document order.

    Args:
        model: a causal language model in evaluation mode.
        documents: token ids, cut to the corpus's length; a corpus's prefix is their position 0.
        sizes: bounds of a batch; None takes those for the model's device.

    Returns:
        float32 nats; a document of n tokens contributes max(n - 1, 0).

    Raises:
        ValueError: a loss is not finite, or a document is longer than the model's positions.
    """
    device = str(model.device)
    sizes = sizes or BATCH_SIZES[model.device.type]
    counts = np.array([max(len(d) - 1, 0) for d in documents], np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    losses = np.empty(offsets[-1], np.float32)
    used = np.flatnonzero(counts)
    most = max_input_length(model)
    if most is not None and len(used) and counts.max() > most:
        raise ValueError(
            f"document {counts.argmax()} needs {counts.max()} positions, the model has {most}; "
            "cut the corpus to fewer tokens"
        )
    body = make_body(model) if has_plain_head(model) else None
    for bucket in length_buckets(counts[used].tolist(), sizes.tokens):
        batch = [int(used[i]) for i in bucket]
        matrix = pad_rows([documents[d] for d in batch], device)
        values = batch_losses(
            model,
            matrix[:, :-1],
            matrix[:, 1:],
            logits_bytes=sizes.logits_bytes,
            body=body,
        )
        for row, d in zip(values.cpu().numpy(), batch, strict=True):
            losses[offsets[d] : offsets[d + 1]] = row[: counts[d]]
    if not np.isfinite(losses).all():
        index = int((~np.isfinite(losses)).argmax())
        raise ValueError(f"loss {index} is {losses[index]}; the model's weights or dtype overflow")
    return losses
