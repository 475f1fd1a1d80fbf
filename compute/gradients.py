"""Exact per-prediction loss gradients, computed in batches.

One row is d(loss of one prediction, nats)/d(parameters) for all parameters except layer norms and
embeddings (arXiv:2303.13506, section 5; learned position embeddings, absent from the published
models, count as input embeddings). Parameters are selected by role, not by name: those of the
linear layers in the model's body. For a linear layer y = W x + b the gradient of sample i is
sum_t dy_it x_it^T, from the inputs and output gradients of one backward pass over a batch; rows are
independent, so each output gradient belongs to one loss only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compute.losses import Tokens, has_plain_head, length_buckets, pad_rows, prediction_counts

GRADIENT_TOKENS = {"cpu": 4_096, "cuda": 32_768}
BATCH_BYTES = 1 << 30  # limit of the gradient rows of one batch


@dataclass(frozen=True)
class ParameterBlock:
    """Weight and bias of one linear layer, and their offset in a gradient row."""

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
    """Return the linear layers of a model's body, in order of definition.

    Raises:
        ValueError: the body has a parameter that is not of an embedding, norm or linear layer;
            rows would silently omit it.
    """
    body, head = model.base_model, model.get_output_embeddings()
    blocks: list[ParameterBlock] = []
    first = 0
    for name, module in body.named_modules():
        parameters = list(module.parameters(recurse=False))
        if not parameters or _is_norm(module) or isinstance(module, nn.Embedding) or module is head:
            continue
        if not isinstance(module, nn.Linear | Conv1D):
            raise ValueError(
                f"{name} ({type(module).__name__}) has parameters outside linear layers; "
                "its architecture is not supported for gradients"
            )
        biases = 0 if module.bias is None else module.bias.numel()
        block = ParameterBlock(name, module, first, module.weight.numel(), biases)
        blocks.append(block)
        first += block.size
    if not blocks:
        raise ValueError("the model's body has no linear layer; want a transformer")
    return blocks


class _Recorder:
    """Record inputs of linear layers, and turn their output gradients into gradient rows."""

    def __init__(self, blocks: Sequence[ParameterBlock], rows: Float[Tensor, "rows parameters"]):
        self.rows = rows
        self.handles = [b.module.register_forward_hook(self._hook(b)) for b in blocks]

    def _hook(self, block: ParameterBlock) -> Callable[..., None]:
        def forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0].detach()
            # register_hook is untyped in torch.
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self._add(block, x, gradient)
            )

        return forward

    def _add(self, block: ParameterBlock, x: Tensor, gradient: Tensor) -> None:
        # The weight of nn.Linear is (out, in), that of GPT-2's Conv1D (in, out).
        pair = (x, gradient) if isinstance(block.module, Conv1D) else (gradient, x)
        weight = pair[0].transpose(1, 2) @ pair[1]
        end = block.first + block.weight_size
        # Added, not set: the gradient of a shared layer is the sum over its calls.
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
            # The embeddings need no gradient, but autograd needs a leaf that requires one.
            embedded = embeddings(inputs).detach().requires_grad_()
            hidden = model.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
            ends = hidden[torch.arange(len(inputs), device=inputs.device), last]
            logits = model.get_output_embeddings()(ends).float()
            # Rows are independent: the gradient of the sum splits into those of single losses.
            loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
            torch.autograd.grad(loss, embedded)
    finally:
        recorder.remove()
    return rows


def _split(batches: Iterator[list[int]], max_rows: int) -> Iterator[list[int]]:
    for batch in batches:
        yield from (batch[first : first + max_rows] for first in range(0, len(batch), max_rows))


def prediction_gradients(
    model: Any,
    contexts: Sequence[Tokens],
    targets: Sequence[int],
    *,
    tokens_per_batch: int | None = None,
) -> Float[Tensor, "predictions parameters"]:
    """Return the gradient of each prediction's loss, one row per prediction, float32.

    Args:
        model: a causal language model in float32.
        contexts: token ids before each target.
        targets: predicted token ids.
        tokens_per_batch: bound on padded positions per batch; default by the model's device.

    Raises:
        ValueError: an empty context, a row that is zero or not finite, or an architecture with
            unsupported parameters or with scaled or capped logits.
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
    max_rows = max(1, BATCH_BYTES // (4 * size))
    for batch in _split(length_buckets(lengths, limit), max_rows):
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
    documents: Sequence[Tokens], predictions: Int[np.ndarray, " predictions"]
) -> tuple[list[Tokens], list[int]]:
    """Return (contexts, target ids) of predictions numbered over `documents`."""
    counts = prediction_counts(documents)
    ends = np.cumsum(counts)
    contexts, targets = [], []
    for index in predictions:
        d = int(np.searchsorted(ends, index, side="right"))
        position = int(index - (ends[d] - counts[d])) + 1
        contexts.append(documents[d][:position].astype(np.int64))
        targets.append(int(documents[d][position]))
    return contexts, targets
