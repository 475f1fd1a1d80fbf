"""Forward and backward pass of stacked one-layer transformers that answer a + b.

Only the last position is computed. Its query is the same for every pair, and keys and values come
from a table of 2p + 1 (token, position) rows, so that the attention of a pair is three numbers per
head. The backward pass is explicit; tests compare both with a transformer of all three positions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from compute.grokking.modular_setting import Architecture


class Pairs:
    """Input pairs of every network.

    Attributes:
        a: first numbers, [networks, pairs].
        b: second numbers.
        answers: (a + b) mod p, [networks, pairs, 1].
    """

    def __init__(self, codes: Int[Tensor, "networks pairs"], p: int) -> None:
        self.a, self.b = codes // p, codes % p
        self.answers = ((self.a + self.b) % p)[:, :, None]
        self.p = p
        self._one_hot: tuple[Tensor, Tensor] | None = None

    def one_hot(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return one-hot matrices [networks, pairs, p] of both numbers."""
        if self._one_hot is None:
            eye = torch.eye(self.p, dtype=like.dtype, device=like.device)
            self._one_hot = (eye[self.a], eye[self.b])
        return self._one_hot


def all_pairs(p: int, device: str = "cpu") -> Pairs:
    """Return all pairs in the order of a p + b, for one network."""
    return Pairs(torch.arange(p * p, device=device)[None], p)


class _ForwardCache(NamedTuple):
    """Intermediate values of the forward pass that the backward pass needs."""

    table: Tensor
    query: Tensor
    keys: Tensor
    attended_values: tuple[Tensor, Tensor, Tensor]
    z: Tensor
    middle: Tensor
    final: Tensor


class StackedTransformer:
    """A stack of one-layer transformers, evaluated at the last position.

    Attributes:
        scores: attention scores of the last position before softmax, [networks, 2p + 1, heads]: to
            every number as the first, to every number as the second, and to "=".
        attention: attention to the three positions, [networks, pairs, 3, heads].
        hidden: activations of the neurons, [networks, pairs, d_mlp].
    """

    def __init__(self, shape: Architecture) -> None:
        self.shape = shape
        self.width = shape.d_model // shape.heads

    def forward(self, params: Sequence[Tensor], pairs: Pairs) -> Float[Tensor, "networks pairs p"]:
        """Return the logits of all p numbers."""
        E, position, Q, K, V, W_O, W_in, b_in, W_out, b_out, U = params
        self._params, self._pairs = params, pairs
        p = self.shape.p
        # Rows: every number in first place, every number in second place, "=" in third place.
        table = torch.cat([E[:, :p], E[:, :p], E[:, p:]], dim=1)
        table += position.repeat_interleave(table.new_tensor([p, p, 1]).long(), dim=1)
        last = table[:, 2 * p :]
        query, keys, values = last @ Q, table @ K, table @ V
        rows = torch.arange(len(E), device=E.device)[:, None]
        attended = (values[rows, pairs.a], values[rows, p + pairs.b], values[:, 2 * p :])
        self.attention = self._attention(query, keys, rows)
        z = sum(
            (self.attention[:, :, j, :, None] * self._split(part)).flatten(2)
            for j, part in enumerate(attended)
        )
        assert isinstance(z, Tensor)
        middle = torch.baddbmm(last, z, W_O)
        self.hidden = torch.baddbmm(b_in, middle, W_in).relu_()
        final = torch.baddbmm(b_out, self.hidden, W_out).add_(middle)
        self._cache = _ForwardCache(table, query, keys, attended, z, middle, final)
        return final @ U

    def _split(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], self.shape.heads, self.width)

    def _attention(self, query: Tensor, keys: Tensor, rows: Tensor) -> Tensor:
        p, pairs = self.shape.p, self._pairs
        scores = self.scores = self._split(keys * query).sum(dim=3) / math.sqrt(self.width)
        of_a, of_b = scores[rows, pairs.a], scores[rows, p + pairs.b]
        of_last = scores[:, 2 * p :].expand_as(of_a)
        return torch.stack([of_a, of_b, of_last], dim=2).softmax(dim=2)

    def backward(
        self, grad: Float[Tensor, "networks pairs p"], gradients: Sequence[Tensor]
    ) -> None:
        """Write the gradients of the parameters into `gradients`.

        Args:
            grad: d(loss)/d(logits).
        """
        self._attention_backward(self._mlp_backward(grad, gradients), gradients)

    def _mlp_backward(self, grad: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Write the gradients of MLP and unembedding; return that of the residual stream before."""
        W_in, W_out, U = (self._params[i] for i in (6, 8, 10))
        dW_in, db_in, dW_out, db_out, dU = gradients[6:]
        cache = self._cache
        torch.bmm(_t(cache.final), grad, out=dU)
        dfinal = grad @ _t(U)
        torch.bmm(_t(self.hidden), dfinal, out=dW_out)
        torch.sum(dfinal, dim=1, keepdim=True, out=db_out)
        dhidden = dfinal @ _t(W_out)
        torch.ops.aten.threshold_backward.grad_input(dhidden, self.hidden, 0, grad_input=dhidden)
        torch.bmm(_t(cache.middle), dhidden, out=dW_in)
        torch.sum(dhidden, dim=1, keepdim=True, out=db_in)
        return torch.baddbmm(dfinal, dhidden, _t(W_in))

    def _attention_backward(self, dmiddle: Tensor, gradients: Sequence[Tensor]) -> None:
        p, cache, attention = self.shape.p, self._cache, self.attention
        Q, K, V, W_O = self._params[2:6]
        dQ, dK, dV, dO = gradients[2:6]
        torch.bmm(_t(cache.z), dmiddle, out=dO)
        dz = self._split(dmiddle @ _t(W_O))
        parts = [(dz * self._split(part)).sum(dim=3) for part in cache.attended_values]
        dattention = torch.stack(parts, dim=2)
        inner = (attention * dattention).sum(dim=2, keepdim=True)
        dscores = self._sum_by_row(attention * (dattention - inner))
        dvalues = self._sum_by_row((attention[..., None] * dz[:, :, None]).flatten(3))
        dscores = dscores.repeat_interleave(self.width, dim=2) / math.sqrt(self.width)
        dkeys, dquery = dscores * cache.query, (dscores * cache.keys).sum(dim=1, keepdim=True)
        torch.bmm(_t(cache.table[:, 2 * p :]), dquery, out=dQ)
        torch.bmm(_t(cache.table), dkeys, out=dK)
        torch.bmm(_t(cache.table), dvalues, out=dV)
        dtable = torch.baddbmm(dkeys @ _t(K), dvalues, _t(V))
        dtable[:, 2 * p :] += dquery @ _t(Q) + dmiddle.sum(dim=1, keepdim=True)
        self._table_backward(dtable, *gradients[:2])

    def _table_backward(self, dtable: Tensor, dE: Tensor, dposition: Tensor) -> None:
        p = self.shape.p
        dE[:, :p] = dtable[:, :p] + dtable[:, p : 2 * p]
        dE[:, p:] = dtable[:, 2 * p :]
        dposition[:, 0] = dtable[:, :p].sum(dim=1)
        dposition[:, 1] = dtable[:, p : 2 * p].sum(dim=1)
        dposition[:, 2] = dtable[:, 2 * p]

    def _sum_by_row(
        self, grads: Float[Tensor, "networks pairs 3 width"]
    ) -> Float[Tensor, "networks rows width"]:
        """Sum gradients of all pairs by row of the table; products keep the order fixed."""
        first, second = self._pairs.one_hot(grads)
        parts = (_t(first) @ grads[:, :, 0], _t(second) @ grads[:, :, 1])
        return torch.cat([*parts, grads[:, :, 2].sum(dim=1, keepdim=True)], dim=1)


def _t(matrix: Tensor) -> Tensor:
    return matrix.transpose(1, 2)
