"""Measures of every prediction beside its loss: rank, entropy, p(chosen token).

All come from the same logits in one pass, block by block, so that a block stays in the cache.
With p the softmax over the vocabulary in float32: rank = 1 + number of tokens with a larger logit
than the actual one (1 = the model's first choice; tied tokens share the better rank), entropy =
−Σ p ln p in nats, and the target's loss = −ln p(target) in nats, in the place of the actual token
(the view of arXiv:2303.13506, figure 1: p(newline) at the ends of lines).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt16
from torch import Tensor

from compute.gpt_neox import Body, make_body
from compute.losses import (
    BATCH_SIZES,
    BatchSizes,
    Tokens,
    has_plain_head,
    length_buckets,
    max_input_length,
    pad_rows,
    rows_per_logits_block,
)

# What uint16 holds; a vocabulary is larger, but nobody reads ranks that far down.
MAX_RANK = 65_535
# Logits that are read several times in a row stay in a core's own cache.
_CACHED_BYTES = 2 << 20


@dataclass(frozen=True)
class DocumentMeasures:
    """Measures of all predictions of some documents, in document order.

    Attributes:
        losses: nats, as `document_losses` gives them up to rounding.
        ranks: from 1, saturating at 65,535.
        entropies: nats.
        target_losses: nats, −ln p(target); None without a target.
    """

    losses: Float[np.ndarray, " predictions"]
    ranks: UInt16[np.ndarray, " predictions"]
    entropies: Float[np.ndarray, " predictions"]
    target_losses: Float[np.ndarray, " predictions"] | None


@torch.inference_mode()
def block_measures(
    logits: Float[Tensor, "positions vocabulary"],
    wanted: Int[Tensor, " positions"],
    target: int | None = None,
) -> Float[Tensor, "measures positions"]:
    """Return loss, rank and entropy of each position, and the target's loss if there is one.

    Args:
        logits: before the softmax.
        wanted: the actual tokens.
        target: a token id whose −ln p is wanted everywhere.
    """
    parts = torch.split(logits, max(16, _CACHED_BYTES // (4 * logits.shape[1])))
    scratch = torch.empty(parts[0].shape, dtype=torch.float32, device=logits.device)
    tokens = torch.split(wanted, len(parts[0]))
    return torch.cat(
        [_measured(x, t, target, scratch) for x, t in zip(parts, tokens, strict=True)], 1
    )


def _measured(
    logits: Float[Tensor, "rows vocabulary"],
    wanted: Int[Tensor, " rows"],
    target: int | None,
    scratch: Float[Tensor, "at_least_rows vocabulary"],
) -> Float[Tensor, "measures rows"]:
    # Fresh memory for every intermediate costs more than the arithmetic: one buffer serves all.
    values, work = logits.float(), scratch[: len(logits)]
    # Counting in float32 is exact to 16 M tokens and six times faster than summing booleans.
    ranks = torch.gt(values, values.gather(1, wanted[:, None]), out=work).sum(1) + 1
    log_p = values.log_softmax(1)
    # log_softmax of a certain token can round to just above zero; zeros get no sign.
    losses = log_p.gather(1, wanted[:, None])[:, 0].clamp_max(0).abs()
    p = torch.exp(log_p, out=work)
    entropies = -torch.linalg.vecdot(p, log_p)
    if not entropies.isfinite().all():  # a token with p = 0 adds 0, not 0 · −∞
        entropies = torch.special.entr(p).sum(1)
    rows = [losses, ranks.clamp_max(MAX_RANK), entropies.clamp_min(0).abs()]
    if target is not None:
        rows.append(log_p[:, target].clamp_max(0).abs())
    return torch.stack(rows)


@torch.inference_mode()
def batch_measures(
    model: Any,
    inputs: Int[Tensor, "rows positions"],
    wanted: Int[Tensor, "rows positions"],
    *,
    logits_bytes: int,
    body: Body | None,
    target: int | None = None,
) -> Float[Tensor, "measures rows positions"]:
    """Return the measures of each token in `wanted`, given the inputs up to its column."""
    actual = wanted.flatten()
    if body:
        head, source = model.get_output_embeddings(), body(inputs).flatten(0, 1)
    else:
        head, source = _same, model(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
    step = rows_per_logits_block(model, logits_bytes)
    blocks = zip(torch.split(source, step), torch.split(actual, step), strict=True)
    parts = [block_measures(head(block), tokens, target) for block, tokens in blocks]
    return torch.cat(parts, 1).view(-1, *wanted.shape)


def _same(logits: Float[Tensor, "positions vocabulary"]) -> Float[Tensor, "positions vocabulary"]:
    return logits


def document_measures(
    model: Any,
    documents: Sequence[Tokens],
    *,
    target: int | None = None,
    sizes: BatchSizes | None = None,
) -> DocumentMeasures:
    """Return the measures of all predictions of `documents`, in document order.

    Args:
        model: a causal language model in evaluation mode.
        documents: token ids, cut to the corpus's length; a corpus's prefix is their position 0.
        target: a token whose probability in every place is wanted as well.
        sizes: bounds of a batch; None takes those for the model's device.

    Raises:
        ValueError: a value is not finite, the target is not in the vocabulary, or a document is
            longer than the model's positions.
    """
    size = int(model.config.vocab_size)
    if target is not None and not 0 <= target < size:
        raise ValueError(f"target token {target} is not in the model's 0 … {size - 1}")
    counts = np.array([max(len(d) - 1, 0) for d in documents], np.int64)
    _check_lengths(model, counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    table = np.empty((3 if target is None else 4, offsets[-1]), np.float32)
    for batch, values in _batches(
        model, documents, counts, sizes or BATCH_SIZES[model.device.type], target
    ):
        for i, d in enumerate(batch):
            table[:, offsets[d] : offsets[d + 1]] = values[:, i, : counts[d]]
    if not np.isfinite(table).all():
        index = int((~np.isfinite(table)).any(0).argmax())
        raise ValueError(
            f"prediction {index} has loss {table[0, index]} and entropy {table[2, index]}; the "
            "model's weights or dtype overflow"
        )
    return DocumentMeasures(
        losses=table[0],
        ranks=table[1].astype(np.uint16),
        entropies=table[2],
        target_losses=None if target is None else table[3],
    )


def _check_lengths(model: Any, counts: Int[np.ndarray, " documents"]) -> None:
    most = max_input_length(model)
    if most is not None and len(counts) and counts.max() > most:
        raise ValueError(
            f"document {counts.argmax()} needs {counts.max()} positions, the model has {most}; "
            "cut the corpus to fewer tokens"
        )


def _batches(
    model: Any,
    documents: Sequence[Tokens],
    counts: Int[np.ndarray, " documents"],
    sizes: BatchSizes,
    target: int | None,
) -> Iterator[tuple[list[int], Float[np.ndarray, "measures rows positions"]]]:
    used = np.flatnonzero(counts)
    body = make_body(model) if has_plain_head(model) else None
    for bucket in length_buckets(counts[used].tolist(), sizes.tokens):
        batch = [int(used[i]) for i in bucket]
        matrix = pad_rows([documents[d] for d in batch], str(model.device))
        values = batch_measures(
            model,
            matrix[:, :-1],
            matrix[:, 1:],
            logits_bytes=sizes.logits_bytes,
            body=body,
            target=target,
        )
        yield batch, values.cpu().numpy()
