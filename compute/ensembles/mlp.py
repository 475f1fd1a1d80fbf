"""Stacks of multilayer perceptrons: many networks of one shape as batched matrix products.

The backward pass is explicit and reuses its buffers: autograd would allocate every activation at
every step, which takes as long as the products. Tests compare it with autograd.

Layers are as in `torch.nn.Linear`, transposed: out = in W + b, W [networks, in, out].
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from compute.ensembles.shapes import Activation, Shape


def init_layers(shape: Shape, generator: torch.Generator) -> list[Float[Tensor, "..."]]:
    """Return one network's W and b, layer by layer, initialised as `torch.nn.Linear`.

    Uniform within 1 / sqrt(inputs) of zero, weights before biases, drawn in float64.
    """
    layers: list[Tensor] = []
    for inputs, outputs in pairwise(shape.widths):
        bound = 1 / math.sqrt(inputs)
        for size in ((outputs, inputs), (1, outputs)):
            part = torch.rand(size, generator=generator, dtype=torch.float64)
            layers.append((part * 2 - 1) * bound)
        layers[-2] = layers[-2].T.contiguous()
    return layers


class StackedMLP:
    """A stack of perceptrons of one shape.

    Attributes:
        params: W and b of every layer, [networks, in, out] and [networks, 1, out].
        gradients: gradients of `params`, after `backward`.
    """

    def __init__(self, shape: Shape, params: Sequence[Tensor]) -> None:
        self.shape = shape
        self.params = [param.contiguous() for param in params]
        self.gradients = [torch.empty_like(param) for param in self.params]
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._grads: list[Tensor] = []
        self._masks: Sequence[Tensor] | None = None

    def forward(
        self,
        x: Float[Tensor, "networks rows inputs"],
        masks: Sequence[Float[Tensor, "networks rows _"]] | None = None,
    ) -> Tensor:
        """Return the outputs [networks, rows, outputs] in a buffer that the next call overwrites.

        Args:
            x: inputs.
            masks: dropout masks, factors of the activations of every hidden layer.
        """
        if not self._outputs or self._outputs[0].shape[1] != x.shape[1]:
            widths = self.shape.widths[1:]
            self._outputs = [x.new_empty(len(x), x.shape[1], width) for width in widths]
        self._inputs, self._masks = [x, *self._outputs[:-1]], masks
        last = len(self._outputs) - 1
        for layer, (source, target) in enumerate(zip(self._inputs, self._outputs, strict=True)):
            torch.baddbmm(self.params[2 * layer + 1], source, self.params[2 * layer], out=target)
            if layer < last:
                _activate(target, self.shape.activation)
                if masks is not None:
                    target.mul_(masks[layer])
        return self._outputs[-1]

    def backward(
        self, grad: Float[Tensor, "networks rows outputs"]
    ) -> Float[Tensor, "networks rows inputs"]:
        """Write `gradients` and return the gradient of the input.

        Args:
            grad: d(loss)/d(output) of the first rows; that of the other rows is 0.
        """
        return self._backward(grad, 0)

    def weights_backward(self, grad: Float[Tensor, "networks rows outputs"]) -> None:
        """Write `gradients`; skip the gradient of the input."""
        self._backward(grad, 1)

    def _backward(self, grad: Tensor, first: int) -> Tensor:
        """Write `gradients`; return the gradient of the input of layer `first`."""
        rows = grad.shape[1]
        if not self._grads or self._grads[0].shape[1] != rows:
            widths = self.shape.widths[:-1]
            self._grads = [grad.new_empty(len(grad), rows, width) for width in widths]
        for layer in reversed(range(len(self._outputs))):
            source = self._inputs[layer][:, :rows]
            torch.bmm(source.transpose(1, 2), grad, out=self.gradients[2 * layer])
            torch.sum(grad, dim=1, keepdim=True, out=self.gradients[2 * layer + 1])
            if layer < first:
                break
            W = self.params[2 * layer]
            grad = torch.bmm(grad, W.transpose(1, 2), out=self._grads[layer])
            if layer:
                self._activation_backward(grad, source, layer - 1)
        return grad

    def _activation_backward(self, grad: Tensor, outputs: Tensor, layer: int) -> None:
        if self._masks is None:
            _activation_grad(grad, outputs, self.shape.activation)
            return
        mask = self._masks[layer][:, : grad.shape[1]]
        grad.mul_(mask)
        # Undo the scaling of dropout; dropped activations are 0 and have no gradient.
        unscaled = torch.where(mask > 0, outputs / mask, outputs)
        _activation_grad(grad, unscaled, self.shape.activation)

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        self.params = [param[rows] for param in self.params]
        self.gradients = [torch.empty_like(param) for param in self.params]
        self._outputs, self._grads = [], []


def _activate(values: Tensor, activation: Activation) -> None:
    """Apply an activation in place."""
    if activation == "tanh":
        values.tanh_()
    else:
        values.relu_()


def _activation_grad(grad: Tensor, outputs: Tensor, activation: Activation) -> None:
    """Turn d(loss)/d(outputs) of an activation into d(loss)/d(inputs), in place."""
    if activation == "tanh":
        torch.ops.aten.tanh_backward.grad_input(grad, outputs, grad_input=grad)
    else:
        torch.ops.aten.threshold_backward.grad_input(grad, outputs, 0, grad_input=grad)
