"""Fast GPT-NeoX forward pass on a CPU, with activations that fit the cache.

Equals `transformers`' GPTNeoXModel up to rounding. Its layers are
x + attention(norm(x)) + mlp(norm'(x)) (arXiv:2204.06745, section 2). For small models memory
traffic costs more than arithmetic, so:

- gains and biases of the norms are folded into the following matrices, and the softmax's
  1/sqrt(head size) into the query matrix, so that both branches share one normalisation;
- biases are the last row of a matrix, multiplied by a column of ones, instead of an extra pass;
- the two components of a rotation are adjacent, so that rotary embedding (arXiv:2104.09864) is an
  in-place complex product; reordering queries and keys alike does not change attention scores;
- attention is computed in blocks of queries over the keys up to the block's end, and the MLP in
  blocks of rows, with buffers that are reused across batches.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

_Hidden = Float[Tensor, "rows positions hidden"]
_Stream = Float[Tensor, "positions hidden"]
Body = Callable[[Int[Tensor, "rows positions"]], _Hidden]

# Scores of 64 queries and activations of 128 rows fit the L2 cache of a core.
QUERY_BLOCK, MLP_ROWS = 64, 128
# Extra columns of the normalized input: the first holds ones, the others keep rows aligned.
_EXTRA_COLUMNS = 16
# The weights are copied: for larger models the copy costs more than it gains.
MAX_PARAMETERS = 200_000_000
# Batches are sorted by length, so few shapes are in use at a time.
_MAX_PLANS = 4


class _Layer(NamedTuple):
    """Matrices of one layer, for products x @ matrix."""

    query_key_value: Float[Tensor, "hidden_and_one three_hidden"]
    attention_out: Float[Tensor, "hidden hidden"]
    mlp_in: Float[Tensor, "hidden_and_one intermediate"]
    mlp_out: Float[Tensor, "intermediate hidden"]
    out_bias: Float[Tensor, " hidden"]


class _Block(NamedTuple):
    """Views for the attention of a block of queries of one row to all keys up to its end."""

    queries: Float[Tensor, "heads queries head_size"]
    keys: Float[Tensor, "heads head_size keys"]
    values: Float[Tensor, "heads keys head_size"]
    scores: Float[Tensor, "heads queries keys"]
    diagonal_scores: Float[Tensor, "heads queries queries"]
    causal_mask: Float[Tensor, "queries queries"]
    out: Float[Tensor, "heads queries head_size"]


@dataclass(frozen=True)
class _Plan:
    """Buffers and views for batches of one shape.

    Attributes:
        normed: normalized input; `with_one` is the same with a column of ones.
        projected: queries, keys and values, side by side.
        rotated: rotary part of queries and keys; `rotations` are the complex factors.
        heads: view of `projected` by row and head, and `out` of `attended`.
        blocks: attention blocks of long rows; empty for rows of one block.
        wide: intermediate activations of a block of MLP rows.
    """

    normed: _Stream
    with_one: Float[Tensor, "positions hidden_and_one"]
    projected: Float[Tensor, "positions three_hidden"]
    rotated: Complex[Tensor, "rows twice_heads length pairs"]
    rotations: Complex[Tensor, "length pairs"]
    heads: Float[Tensor, "rows thrice_heads length head_size"]
    out: Float[Tensor, "rows heads length head_size"]
    blocks: list[_Block]
    attended: _Stream
    wide: Float[Tensor, "some_positions intermediate"]


def _with_bias(linear: nn.Linear, norm: nn.LayerNorm) -> Float[Tensor, "outputs inputs_and_one"]:
    """Return weights and bias side by side, with the gain and bias of `norm` folded in."""
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return torch.cat([linear.weight * norm.weight, (linear.weight @ norm.bias + bias)[:, None]], 1)


def _adjacent_pairs(head_size: int, rotary: int) -> Int[Tensor, " head_size"]:
    """Return the order that puts component i beside i + rotary/2, its partner in a rotation."""
    pairs = torch.arange(rotary).view(2, -1).T.flatten()
    return torch.cat([pairs, torch.arange(rotary, head_size)])


class NeoXBody:
    """Compute the hidden states of GPTNeoXModel after the final norm, in float32 on a CPU.

    The weights are copied at construction; later changes of the model have no effect.
    """

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.base_model
        self._heads = int(config.num_attention_heads)
        self._hidden = int(config.hidden_size)
        self._eps = float(config.layer_norm_eps)
        self._embedding, self._final_norm = body.embed_in, body.final_layer_norm
        self._frequencies = body.rotary_emb.inv_freq
        self._layers = [self._convert(layer) for layer in body.layers]
        self._causal_mask = torch.full((QUERY_BLOCK, QUERY_BLOCK), -torch.inf).triu(1)
        self._plans: dict[tuple[int, int], _Plan] = {}

    def _convert(self, layer: Any) -> _Layer:
        attention, mlp = layer.attention, layer.mlp
        size = self._hidden // self._heads
        order = _adjacent_pairs(size, 2 * len(self._frequencies))
        joint = _with_bias(attention.query_key_value, layer.input_layernorm)
        queries, keys, values = joint.view(self._heads, 3, size, -1).unbind(1)
        parts = [queries[:, order] * size**-0.5, keys[:, order], values]
        outward = [attention.dense, mlp.dense_4h_to_h]
        biases = [linear.bias for linear in outward if linear.bias is not None]
        return _Layer(
            torch.cat([part.flatten(0, 1) for part in parts]).T.contiguous(),
            attention.dense.weight.T.contiguous(),
            _with_bias(mlp.dense_h_to_4h, layer.post_attention_layernorm).T.contiguous(),
            mlp.dense_4h_to_h.weight.T.contiguous(),
            torch.stack([torch.zeros(self._hidden), *biases]).sum(0),
        )

    @torch.inference_mode()
    def __call__(self, inputs: Int[Tensor, "rows positions"]) -> _Hidden:
        """Return the hidden states of every position of `inputs`."""
        plan = self._plan(*inputs.shape)
        stream = self._embedding(inputs.flatten())
        for layer in self._layers:
            plan.normed.copy_(nn.functional.layer_norm(stream, (self._hidden,), eps=self._eps))
            stream += layer.out_bias
            self._add_attention(stream, layer, plan)
            self._add_mlp(stream, layer, plan)
        hidden: Tensor = self._final_norm(stream)
        return hidden.view(*inputs.shape, self._hidden)

    def _add_attention(self, stream: _Stream, layer: _Layer, plan: _Plan) -> None:
        torch.mm(plan.with_one, layer.query_key_value, out=plan.projected)
        plan.rotated.mul_(plan.rotations)
        if not plan.blocks:
            q, k, v = plan.heads.chunk(3, dim=1)
            plan.out.copy_(
                nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
            )
        for block in plan.blocks:
            torch.bmm(block.queries, block.keys, out=block.scores)
            block.diagonal_scores.add_(block.causal_mask)
            torch.softmax(block.scores, -1, out=block.scores)
            block.out.copy_(torch.bmm(block.scores, block.values))
        stream.addmm_(plan.attended, layer.attention_out)

    def _add_mlp(self, stream: _Stream, layer: _Layer, plan: _Plan) -> None:
        for start in range(0, len(stream), MLP_ROWS):
            rows = slice(start, start + MLP_ROWS)
            wide = plan.wide[: len(stream[rows])]
            torch.mm(plan.with_one[rows], layer.mlp_in, out=wide)
            torch.ops.aten.gelu_(wide)
            stream[rows].addmm_(wide, layer.mlp_out)

    def _plan(self, rows: int, length: int) -> _Plan:
        if (rows, length) not in self._plans:
            if len(self._plans) == _MAX_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[rows, length] = self._new_plan(rows, length)
        return self._plans[rows, length]

    def _new_plan(self, rows: int, length: int) -> _Plan:
        n, hidden, heads = rows * length, self._hidden, self._heads
        ones = torch.ones(n, hidden + _EXTRA_COLUMNS)
        projected = torch.empty(n, 3 * hidden)
        by_head = projected.view(rows, length, 3 * heads, -1).transpose(1, 2)
        rotary = by_head[:, : 2 * heads, :, : 2 * len(self._frequencies)]
        angles = torch.arange(length)[:, None].float() * self._frequencies
        attended = torch.empty(n, hidden)
        out = attended.view(rows, length, heads, -1).transpose(1, 2)
        blocks: list[_Block] = []
        if length > QUERY_BLOCK:
            memory = torch.empty(heads * QUERY_BLOCK * length)
            for row, row_out in zip(by_head, out, strict=True):
                blocks += self._blocks(row, row_out, memory)
        return _Plan(
            normed=ones[:, :hidden],
            with_one=ones[:, : hidden + 1],
            projected=projected,
            rotated=torch.view_as_complex(rotary.reshape(*rotary.shape[:-1], -1, 2)),
            rotations=torch.polar(torch.ones_like(angles), angles),
            heads=by_head,
            out=out,
            blocks=blocks,
            attended=attended,
            wide=torch.empty(min(n, MLP_ROWS), self._layers[0].mlp_in.shape[1]),
        )

    def _blocks(
        self,
        heads: Float[Tensor, "thrice_heads length head_size"],
        out: Float[Tensor, "heads length head_size"],
        memory: Float[Tensor, " scores"],
    ) -> Iterator[_Block]:
        """Yield the attention blocks of one row; their scores share `memory`."""
        queries, keys, values = heads.chunk(3)
        for start in range(0, out.shape[1], QUERY_BLOCK):
            own, visible = slice(start, start + QUERY_BLOCK), slice(start + QUERY_BLOCK)
            block_queries, block_keys = queries[:, own], keys[:, visible].transpose(1, 2)
            shape = (*block_queries.shape[:2], block_keys.shape[2])
            scores = memory[: math.prod(shape)].view(shape)
            n = block_queries.shape[1]
            yield _Block(
                block_queries,
                block_keys,
                values[:, visible],
                scores,
                scores[:, :, start:],
                self._causal_mask[:n, :n],
                out[:, own],
            )


def _is_supported(model: Any) -> bool:
    """Return whether `NeoXBody` implements the model's architecture."""
    config = model.config
    if config.model_type != "gpt_neox" or model.device.type != "cpu":
        return False
    # Other versions of transformers may configure rotary embeddings elsewhere.
    rope = getattr(config, "rope_parameters", None) or {}
    return bool(
        rope.get("rope_type") == "default"
        # A rotated pair is one complex number, which must start at an even offset.
        and (config.hidden_size // config.num_attention_heads) % 2 == 0
        and len(model.base_model.rotary_emb.inv_freq)
        and config.use_parallel_residual
        and config.hidden_act == "gelu"
        and not model.training
        and model.dtype == torch.float32
        and model.num_parameters() <= MAX_PARAMETERS
    )


@torch.inference_mode()
def make_body(model: Any) -> Body:
    """Return the function from token ids to the input of the output embedding.

    `NeoXBody` if its output equals the model's on a probe; else the model's own forward pass (other
    architectures or devices, replaced modules, weights that overflow).
    """

    def model_body(inputs: Int[Tensor, "rows positions"]) -> _Hidden:
        hidden: Tensor = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        return hidden

    if not _is_supported(model):
        return model_body
    fast, n = NeoXBody(model), QUERY_BLOCK + 6  # more than one block of queries
    probe = torch.arange(n).remainder(model.config.vocab_size)[None]
    # Rounding is about 1e-6 after the final norm; even a small adapter exceeds the tolerance.
    is_equal = torch.allclose(fast(probe), model_body(probe), rtol=1e-4, atol=1e-4)
    return fast if is_equal else model_body
