"""GPT-NeoX's forward pass on a processor, arranged so that activations stay in its cache.

The function of `transformers`' GPTNeoXModel up to rounding, for losses of many documents. Its
layers are x + attention(norm(x)) + mlp(norm'(x)) (arXiv:2204.06745, section 2). What differs is
where memory is read and written, which at small sizes costs more than the arithmetic:

- gains and biases of the norms are folded into the matrices that follow, and the softmax's
  1/sqrt(head size) into the queries', so that one normalisation serves both branches;
- biases are the last row of a matrix, against a column of ones, instead of a pass of their own;
- the two numbers that a rotation mixes are neighbours, so that rotary embedding (arXiv:2104.09864)
  is a complex product in place; queries and keys are reordered alike, which no score can see;
- attention goes by blocks of queries, each over the keys up to its own end, and the MLP by blocks
  of rows, through buffers that are kept from batch to batch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

Body = Callable[[Int[Tensor, "rows positions"]], Float[Tensor, "rows positions hidden"]]

# Scores of 64 queries, and activations of 128 rows, stay in a core's own cache.
QUERY_BLOCK, MLP_ROWS = 64, 128
# Columns of the buffer whose first extra one holds ones; the rest keep rows aligned.
_EXTRA = 16
# The matrices are copied once more; beyond this size the gain is small and the copy is not.
MAX_PARAMETERS = 200_000_000
# Batches come sorted by length, so that few shapes are in use at a time.
_KEPT_PLANS = 4


class _Layer(NamedTuple):
    """Matrices of one layer, to be multiplied from the right."""

    query_key_value: Float[Tensor, "hidden_and_one three_hidden"]
    attention_out: Float[Tensor, "hidden hidden"]
    mlp_in: Float[Tensor, "hidden_and_one intermediate"]
    mlp_out: Float[Tensor, "intermediate hidden"]
    out_bias: Float[Tensor, " hidden"]


class _Block(NamedTuple):
    """Views for attention of some neighbouring queries of one row to all keys up to them."""

    queries: Float[Tensor, "heads queries head_size"]
    keys: Float[Tensor, "heads head_size keys"]
    values: Float[Tensor, "heads keys head_size"]
    scores: Float[Tensor, "heads queries keys"]
    own_scores: Float[Tensor, "heads queries queries"]
    future: Float[Tensor, "queries queries"]
    out: Float[Tensor, "heads queries head_size"]


@dataclass(frozen=True)
class _Plan:
    """Buffers and views for batches of one shape.

    Attributes:
        normed: where a normalised input goes; `with_one` is the same, a column of ones beside it.
        projected: queries, keys and values, side by side.
        rotated: the part of queries and keys that rotates; `turns` is by how much.
        heads: queries, keys and values in `projected`, by row; `out` the same of `attended`.
        blocks: attention of long rows, piece by piece; none for rows of one block.
        wide: the inner activations of some rows of the MLP.
    """

    normed: Float[Tensor, "positions hidden"]
    with_one: Float[Tensor, "positions hidden_and_one"]
    projected: Float[Tensor, "positions three_hidden"]
    rotated: Complex[Tensor, "rows twice_heads length pairs"]
    turns: Complex[Tensor, "length pairs"]
    heads: Float[Tensor, "rows thrice_heads length head_size"]
    out: Float[Tensor, "rows heads length head_size"]
    blocks: list[_Block]
    attended: Float[Tensor, "positions hidden"]
    wide: Float[Tensor, "some_positions intermediate"]


def _with_bias(linear: nn.Linear, norm: nn.LayerNorm) -> Float[Tensor, "outputs inputs_and_one"]:
    """Return weights and bias side by side, as they act on the normalised input of `norm`."""
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return torch.cat([linear.weight * norm.weight, (linear.weight @ norm.bias + bias)[:, None]], 1)


def _neighbouring_pairs(head_size: int, rotary: int) -> Int[Tensor, " head_size"]:
    """Return the order that puts number i beside number i + rotary/2, which it rotates with."""
    pairs = torch.arange(rotary).view(2, -1).T.flatten()
    return torch.cat([pairs, torch.arange(rotary, head_size)])


class NeoXBody:
    """Hidden states after the final norm, as GPTNeoXModel returns them, for float32 on a CPU.

    Weights are copied when it is made: a later change to the model does not reach it.
    """

    def __init__(self, model: Any) -> None:
        config, body = model.config, model.base_model
        self._heads = int(config.num_attention_heads)
        self._hidden = int(config.hidden_size)
        self._eps = float(config.layer_norm_eps)
        self._embedding, self._final_norm = body.embed_in, body.final_layer_norm
        self._frequencies = body.rotary_emb.inv_freq
        self._layers = [self._arranged(layer) for layer in body.layers]
        self._future = torch.full((QUERY_BLOCK, QUERY_BLOCK), -torch.inf).triu(1)
        self._plans: dict[tuple[int, int], _Plan] = {}

    def _arranged(self, layer: Any) -> _Layer:
        attention, mlp = layer.attention, layer.mlp
        size = self._hidden // self._heads
        order = _neighbouring_pairs(size, 2 * len(self._frequencies))
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
    def __call__(
        self, inputs: Int[Tensor, "rows positions"]
    ) -> Float[Tensor, "rows positions hidden"]:
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

    def _add_attention(
        self, stream: Float[Tensor, "positions hidden"], layer: _Layer, plan: _Plan
    ) -> None:
        torch.mm(plan.with_one, layer.query_key_value, out=plan.projected)
        plan.rotated.mul_(plan.turns)
        if not plan.blocks:
            q, k, v = plan.heads.chunk(3, dim=1)
            plan.out.copy_(
                nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
            )
        for block in plan.blocks:
            torch.bmm(block.queries, block.keys, out=block.scores)
            block.own_scores.add_(block.future)
            torch.softmax(block.scores, -1, out=block.scores)
            block.out.copy_(torch.bmm(block.scores, block.values))
        stream.addmm_(plan.attended, layer.attention_out)

    def _add_mlp(
        self, stream: Float[Tensor, "positions hidden"], layer: _Layer, plan: _Plan
    ) -> None:
        for start in range(0, len(stream), MLP_ROWS):
            rows = slice(start, start + MLP_ROWS)
            wide = plan.wide[: len(stream[rows])]
            torch.mm(plan.with_one[rows], layer.mlp_in, out=wide)
            torch.ops.aten.gelu_(wide)
            stream[rows].addmm_(wide, layer.mlp_out)

    def _plan(self, rows: int, length: int) -> _Plan:
        if (rows, length) not in self._plans:
            if len(self._plans) == _KEPT_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[rows, length] = self._new_plan(rows, length)
        return self._plans[rows, length]

    def _new_plan(self, rows: int, length: int) -> _Plan:
        n, hidden, heads = rows * length, self._hidden, self._heads
        ones = torch.ones(n, hidden + _EXTRA)
        projected = torch.empty(n, 3 * hidden)
        by_head = projected.view(rows, length, 3 * heads, -1).transpose(1, 2)
        turning = by_head[:, : 2 * heads, :, : 2 * len(self._frequencies)]
        angles = torch.arange(length)[:, None].float() * self._frequencies
        attended = torch.empty(n, hidden)
        out = attended.view(rows, length, heads, -1).transpose(1, 2)
        blocks: list[_Block] = []
        if length > QUERY_BLOCK:
            memory = torch.empty(heads * QUERY_BLOCK * length)
            for row, into in zip(by_head, out, strict=True):
                blocks += self._blocks(row, into, memory)
        return _Plan(
            normed=ones[:, :hidden],
            with_one=ones[:, : hidden + 1],
            projected=projected,
            rotated=torch.view_as_complex(turning.reshape(*turning.shape[:-1], -1, 2)),
            turns=torch.polar(torch.ones_like(angles), angles),
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
        """Yield the blocks of one row; all write their scores to the same `memory`."""
        queries, keys, values = heads.chunk(3)
        for start in range(0, out.shape[1], QUERY_BLOCK):
            own, seen = slice(start, start + QUERY_BLOCK), slice(start + QUERY_BLOCK)
            asking, answering = queries[:, own], keys[:, seen].transpose(1, 2)
            shape = (*asking.shape[:2], answering.shape[2])
            scores = memory[: math.prod(shape)].view(shape)
            n = asking.shape[1]
            yield _Block(
                asking,
                answering,
                values[:, seen],
                scores,
                scores[:, :, start:],
                self._future[:n, :n],
                out[:, own],
            )


def _is_covered(model: Any) -> bool:
    """Whether the architecture is one that `NeoXBody` knows."""
    config = model.config
    if config.model_type != "gpt_neox" or model.device.type != "cpu":
        return False
    # Versions of transformers that keep the rotation elsewhere are followed by their own pass.
    rope = getattr(config, "rope_parameters", None) or {}
    return bool(
        rope.get("rope_type") == "default"
        # A pair that rotates is one complex number: it starts at an even place.
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
    """Return the function from token ids to what the output embedding multiplies.

    `NeoXBody` where it gives what the model itself gives on a probe, and the model itself elsewhere
    (another architecture or device, a module that somebody replaced, weights that overflow).
    """

    def own(inputs: Int[Tensor, "rows positions"]) -> Float[Tensor, "rows positions hidden"]:
        hidden: Tensor = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        return hidden

    if not _is_covered(model):
        return own
    fast, n = NeoXBody(model), QUERY_BLOCK + 6  # more than one block of queries
    probe = torch.arange(n).remainder(model.config.vocab_size)[None]
    # Rounding alone is some 1e-6 after the final norm; a small adapter is more than this.
    return fast if torch.allclose(fast(probe), own(probe), rtol=1e-4, atol=1e-4) else own
