"""Exact gradients of single predictions' losses, many predictions at a time.

One row is d(loss of one prediction, nats)/d(parameters) for all parameters except layer norms and
embeddings (arXiv:2303.13506, section 5; learned position embeddings, which the published models do
not have, count as input embeddings). Parameters are chosen by role: those of the linear maps inside
the model's body, whatever an architecture calls them. For a linear map
y = W x + b the gradient of sample i is sum_t dy_it x_it^T, from the inputs and output gradients of
one ordinary backward pass over a batch: rows are independent, so each output gradient belongs to
one loss alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compute.losses import Tokens, has_plain_head, length_buckets, pad_rows

GRADIENT_TOKENS = {"cpu": 4_096, "cuda": 32_768}
BATCH_BYTES = 1 << 30  # of the gradient rows of one batch


@dataclass(frozen=True)
class ParameterBlock:
    """Weight and bias of one linear map, and their place in a gradient row."""

    name: str
    module: nn.Module
    first: int
    weight_size: int
    bias_size: int

    @property
    def size(self) -> int:
        """Number of entries in a gradient row."""
        return self.weight_size + self.bias_size


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def linear_blocks(model: Any) -> list[ParameterBlock]:
    """Return the linear maps of a model's body, in order of definition.

    Raises:
        ValueError: the body has a parameter that is no embedding, no norm and in no linear map, so
            that rows would silently lack it.
    """
    body, head = model.base_model, model.get_output_embeddings()
    blocks: list[ParameterBlock] = []
    first = 0
    for name, module in body.named_modules():
        own = list(module.parameters(recurse=False))
        if not own or _is_norm(module) or isinstance(module, nn.Embedding) or module is head:
            continue
        if not isinstance(module, nn.Linear | Conv1D):
            raise ValueError(
                f"{name} ({type(module).__name__}) has parameters outside linear maps; "
                "its architecture is not supported for gradients"
            )
        biases = 0 if module.bias is None else module.bias.numel()
        block = ParameterBlock(name, module, first, module.weight.numel(), biases)
        blocks.append(block)
        first += block.size
    if not blocks:
        raise ValueError("the model's body has no linear map; want a transformer")
    return blocks


class _Recorder:
    """Keeps inputs of linear maps and turns output gradients into gradient rows."""

    def __init__(self, blocks: Sequence[ParameterBlock], rows: Float[Tensor, "rows parameters"]):
        self.rows = rows
        self.handles = [b.module.register_forward_hook(self._hook(b)) for b in blocks]

    def _hook(self, block: ParameterBlock) -> Callable[..., None]:
        def forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = inputs[0].detach()
            # torch leaves register_hook without types.
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self._write(block, seen, gradient)
            )

        return forward

    def _write(self, block: ParameterBlock, seen: Tensor, gradient: Tensor) -> None:
        # nn.Linear keeps its weight as (out, in), GPT-2's Conv1D as (in, out).
        pair = (seen, gradient) if isinstance(block.module, Conv1D) else (gradient, seen)
        weight = pair[0].transpose(1, 2) @ pair[1]
        end = block.first + block.weight_size
        # Added, not set: a map that is called twice has two shares of its gradient.
        self.rows[:, block.first : end] += weight.flatten(1)
        if block.bias_size:
            self.rows[:, end : end + block.bias_size] += gradient.sum(1)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def _batch_gradients(
    model: Any,
    blocks: Sequence[ParameterBlock],
    inputs: Int[Tensor, "rows positions"],
    last: Int[Tensor, " rows"],
    targets: Int[Tensor, " rows"],
) -> Float[Tensor, "rows parameters"]:
    size = blocks[-1].first + blocks[-1].size
    rows = torch.zeros(len(inputs), size, device=inputs.device)
    embeddings = model.get_input_embeddings()
    recorder = _Recorder(blocks, rows)
    try:
        with torch.enable_grad():
            # Embeddings need no gradient themselves, but the graph must start somewhere.
            embedded = embeddings(inputs).detach().requires_grad_()
            hidden = model.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
            ends = hidden[torch.arange(len(inputs), device=inputs.device), last]
            logits = model.get_output_embeddings()(ends).float()
            # The sum's gradient with respect to one row is that of the row's own loss.
            loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
            torch.autograd.grad(loss, embedded)
    finally:
        recorder.remove()
    return rows


def _split(batches: Iterator[list[int]], most: int) -> Iterator[list[int]]:
    for batch in batches:
        yield from (batch[first : first + most] for first in range(0, len(batch), most))


def prediction_gradients(
    model: Any,
    contexts: Sequence[Tokens],
    targets: Sequence[int],
    *,
    tokens_per_batch: int | None = None,
) -> Float[Tensor, "predictions parameters"]:
    """Return the gradient of each prediction's loss, one row a prediction, float32.

    Args:
        model: a causal language model in float32.
        contexts: everything the model sees before the token.
        targets: the token ids predicted.
        tokens_per_batch: bound on padded positions of one batch; None takes the device's.

    Raises:
        ValueError: an empty context, a row that is zero or not finite, or an architecture with
            parameters that are not covered or logits that are scaled or capped.
    """
    if any(len(context) == 0 for context in contexts):
        index = next(i for i, context in enumerate(contexts) if len(context) == 0)
        raise ValueError(f"context {index} is empty; a prediction needs a token before it")
    if not has_plain_head(model):
        raise ValueError(
            "the model scales or caps its logits; its architecture is not supported for gradients"
        )
    blocks = linear_blocks(model)
    device = str(model.device)
    limit = tokens_per_batch or GRADIENT_TOKENS[model.device.type]
    size = blocks[-1].first + blocks[-1].size
    gradients = torch.empty(len(contexts), size, device=device)
    lengths = [len(context) for context in contexts]
    most_rows = max(1, BATCH_BYTES // (4 * size))
    for batch in _split(length_buckets(lengths, limit), most_rows):
        gradients[batch] = _batch_gradients(
            model,
            blocks,
            pad_rows([contexts[i] for i in batch], device),
            torch.tensor([lengths[i] - 1 for i in batch], device=device),
            torch.tensor([targets[i] for i in batch], device=device),
        )
    norms = gradients.norm(dim=1)
    if not (norms.isfinite() & (norms > 0)).all():
        index = int((~(norms.isfinite() & (norms > 0))).nonzero()[0, 0])
        raise ValueError(f"gradient {index} has norm {norms[index]:g}; drop that prediction")
    return gradients


def prediction_contexts(
    documents: Sequence[Tokens],
    predictions: Int[np.ndarray, " chosen"],
) -> tuple[list[Tokens], list[int]]:
    """Return (contexts, target ids) of predictions numbered over `documents`."""
    counts = np.array([max(len(d) - 1, 0) for d in documents], np.int64)
    ends = np.cumsum(counts)
    contexts, targets = [], []
    for index in predictions:
        d = int(np.searchsorted(ends, index, side="right"))
        position = int(index - (ends[d] - counts[d])) + 1
        contexts.append(documents[d][:position].astype(np.int64))
        targets.append(int(documents[d][position]))
    return contexts, targets
