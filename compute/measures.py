"""Measures of every prediction beside its loss: rank, entropy, and p of a target token.

All come from the same logits in one pass, in blocks that fit the cache. With p the softmax over the
vocabulary in float32: rank = 1 + number of tokens with a larger logit than the actual token (1 is
the most likely; ties share the better rank), entropy = −Σ p ln p in nats, and target loss =
−ln p(target) in nats at every position, whatever the actual token (arXiv:2303.13506, figure 1:
p(newline) at line ends).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt16
from torch import Tensor, nn

from compute.gpt_neox import Body, make_body
from compute.losses import (
    BATCH_SIZES,
    BatchSizes,
    Tokens,
    document_batches,
    has_plain_head,
    prediction_counts,
    rows_per_logits_block,
)

# Limit of uint16; exact ranks beyond it have no use.
MAX_RANK = 65_535
# Logits are read several times: a block must fit the L2 cache of a core.
_CACHED_BYTES = 2 << 20


@dataclass(frozen=True)
class DocumentMeasures:
    """Measures of all predictions of some documents, in document order.

    Attributes:
        losses: nats, equal to `document_losses` up to rounding.
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
    actual: Int[Tensor, " positions"],
    target: int | None = None,
) -> Float[Tensor, "measures positions"]:
    """Return loss, rank and entropy at each position, and the loss of token `target` if given."""
    parts = torch.split(logits, max(16, _CACHED_BYTES // (4 * logits.shape[1])))
    scratch = torch.empty(parts[0].shape, dtype=torch.float32, device=logits.device)
    tokens = torch.split(actual, len(parts[0]))
    return torch.cat(
        [_measure_rows(x, t, target, scratch) for x, t in zip(parts, tokens, strict=True)], 1
    )


def _measure_rows(
    logits: Float[Tensor, "rows vocabulary"],
    actual: Int[Tensor, " rows"],
    target: int | None,
    scratch: Float[Tensor, "at_least_rows vocabulary"],
) -> Float[Tensor, "measures rows"]:
    # Allocation of intermediates would cost more than the arithmetic: reuse one buffer.
    values, buffer = logits.float(), scratch[: len(logits)]
    # A float32 sum is exact to 16 M tokens and six times faster than a sum of booleans.
    ranks = torch.gt(values, values.gather(1, actual[:, None]), out=buffer).sum(1) + 1
    log_p = values.log_softmax(1)
    # log_softmax can round above zero for a token of probability 1; abs removes the sign of -0.0.
    losses = log_p.gather(1, actual[:, None])[:, 0].clamp_max(0).abs()
    p = torch.exp(log_p, out=buffer)
    entropies = -torch.linalg.vecdot(p, log_p)
    if not entropies.isfinite().all():  # a token with p = 0 contributes 0, not 0 · −∞
        entropies = torch.special.entr(p).sum(1)
    rows = [losses, ranks.clamp_max(MAX_RANK), entropies.clamp_min(0).abs()]
    if target is not None:
        rows.append(log_p[:, target].clamp_max(0).abs())
    return torch.stack(rows)


@torch.inference_mode()
def batch_measures(
    model: Any,
    inputs: Int[Tensor, "rows positions"],
    actual: Int[Tensor, "rows positions"],
    *,
    logits_bytes: int,
    body: Body | None,
    target: int | None = None,
) -> Float[Tensor, "measures rows positions"]:
    """Return the measures of each actual token, given the inputs up to its column."""
    if body:
        head, states = model.get_output_embeddings(), body(inputs).flatten(0, 1)
    else:
        head, states = nn.Identity(), model(input_ids=inputs, use_cache=False).logits.flatten(0, 1)
    step = rows_per_logits_block(model, logits_bytes)
    blocks = zip(torch.split(states, step), torch.split(actual.flatten(), step), strict=True)
    parts = [block_measures(head(block), tokens, target) for block, tokens in blocks]
    return torch.cat(parts, 1).view(-1, *actual.shape)


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
        documents: token ids, truncated to the corpus's length; the corpus prefix is position 0.
        target: token id for the target loss.
        sizes: bounds of a batch; default by the model's device.

    Raises:
        ValueError: a value is not finite, the target is not in the vocabulary, or a document is
            longer than the model's positions.
    """
    size = int(model.config.vocab_size)
    if target is not None and not 0 <= target < size:
        raise ValueError(f"target token {target} is not in the model's 0 … {size - 1}")
    sizes, counts = sizes or BATCH_SIZES[model.device.type], prediction_counts(documents)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    table = np.empty((3 if target is None else 4, offsets[-1]), np.float32)
    body = make_body(model) if has_plain_head(model) else None
    for batch, tokens in document_batches(model, documents, sizes.tokens):
        values = batch_measures(
            model,
            tokens[:, :-1],
            tokens[:, 1:],
            logits_bytes=sizes.logits_bytes,
            body=body,
            target=target,
        )
        for rows, d in zip(values.cpu().numpy().swapaxes(0, 1), batch, strict=True):
            table[:, offsets[d] : offsets[d + 1]] = rows[:, : counts[d]]
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
