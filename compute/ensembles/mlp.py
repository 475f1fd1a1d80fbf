"""Stacks of multilayer perceptrons: many networks of one shape as batched matrix products.

The backward pass is written out, into buffers that last: autograd would allocate every activation
anew, which for stacks of this size costs as much as the products. Tests hold it to autograd.

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
    """Return one network's W and b, layer by layer, as `torch.nn.Linear` begins.

    Uniform within 1 / sqrt(inputs) of zero, weights before biases, drawn in float64.
    """
    drawn = []
    for inputs, outputs in pairwise(shape.widths):
        bound = 1 / math.sqrt(inputs)
        for size in ((outputs, inputs), (1, outputs)):
            part = torch.rand(size, generator=generator, dtype=torch.float64)
            drawn.append((part * 2 - 1) * bound)
        drawn[-2] = drawn[-2].T.contiguous()
    return drawn


class StackedMLP:
    """Many perceptrons of one shape.

    Attributes:
        leaves: W and b of every layer, [networks, in, out] and [networks, 1, out].
        gradients: of the leaves, after `backward`.
    """

    def __init__(self, shape: Shape, params: Sequence[Tensor]) -> None:
        self.shape = shape
        self.params = [param.contiguous() for param in params]
        self.gradients = [torch.empty_like(param) for param in self.params]
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._slopes: list[Tensor] = []
        self._masks: Sequence[Tensor] | None = None

    def forward(
        self,
        x: Float[Tensor, "networks rows inputs"],
        masks: Sequence[Float[Tensor, "networks rows _"]] | None = None,
    ) -> Tensor:
        """Return the outputs [networks, rows, outputs]: a buffer, valid until the next call.

        Args:
            x: inputs.
            masks: factors of the activations of every hidden layer (dropout).
        """
        if not self._outputs or self._outputs[0].shape[1] != x.shape[1]:
            widths = self.shape.widths[1:]
            self._outputs = [x.new_empty(len(x), x.shape[1], width) for width in widths]
        self._inputs, self._masks = [x, *self._outputs[:-1]], masks
        last = len(self._outputs) - 1
        for layer, (before, after) in enumerate(zip(self._inputs, self._outputs, strict=True)):
            torch.baddbmm(self.params[2 * layer + 1], before, self.params[2 * layer], out=after)
            if layer < last:
                activate(after, self.shape.activation)
                if masks is not None:
                    after.mul_(masks[layer])
        return self._outputs[-1]

    def backward(
        self, slope: Float[Tensor, "networks rows outputs"]
    ) -> Float[Tensor, "networks rows inputs"]:
        """Put the gradients into `gradients`; return that of the input.

        Args:
            slope: d(loss)/d(output) of the first rows; the others have none.
        """
        return self._backward(slope, 0)

    def weights_backward(self, slope: Float[Tensor, "networks rows outputs"]) -> None:
        """Put the gradients into `gradients` where nobody wants that of the input."""
        self._backward(slope, 1)

    def _backward(self, slope: Tensor, lowest: int) -> Tensor:
        """Go back to the input of a layer, and one layer's weights further."""
        rows = slope.shape[1]
        if not self._slopes or self._slopes[0].shape[1] != rows:
            widths = self.shape.widths[:-1]
            self._slopes = [slope.new_empty(len(slope), rows, width) for width in widths]
        for layer in reversed(range(len(self._outputs))):
            before = self._inputs[layer][:, :rows]
            torch.bmm(before.transpose(1, 2), slope, out=self.gradients[2 * layer])
            torch.sum(slope, dim=1, keepdim=True, out=self.gradients[2 * layer + 1])
            if layer < lowest:
                break
            W = self.params[2 * layer]
            slope = torch.bmm(slope, W.transpose(1, 2), out=self._slopes[layer])
            if layer:
                self._through_activation(slope, before, layer - 1)
        return slope

    def _through_activation(self, slope: Tensor, outputs: Tensor, layer: int) -> None:
        if self._masks is None:
            deactivate(slope, outputs, self.shape.activation)
            return
        mask = self._masks[layer][:, : slope.shape[1]]
        slope.mul_(mask)
        # What was dropped is 0 either way; what was kept is back at its own size.
        own = torch.where(mask > 0, outputs / mask, outputs)
        deactivate(slope, own, self.shape.activation)

    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows."""
        self.params = [param[rows] for param in self.params]
        self.gradients = [torch.empty_like(param) for param in self.params]
        self._outputs, self._slopes = [], []


def activate(values: Tensor, activation: Activation) -> None:
    """Apply an activation in place."""
    if activation == "tanh":
        values.tanh_()
    else:
        values.relu_()


def deactivate(slope: Tensor, outputs: Tensor, activation: Activation) -> None:
    """Take a gradient back through an activation, in place.

    Args:
        slope: d(loss)/d(output).
        outputs: of the activation.
    """
    if activation == "tanh":
        torch.ops.aten.tanh_backward.grad_input(slope, outputs, grad_input=slope)
    else:
        torch.ops.aten.threshold_backward.grad_input(slope, outputs, 0, grad_input=slope)
