"""Stacked perceptrons against torch.nn and autograd."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from torch import nn

from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.shapes import Activation, Shape

COUNT, ROWS, TRAINED = 3, 11, 7


def torch_mlp(shape: Shape, params: list[torch.Tensor], network: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(shape.widths)):
        linear = nn.Linear(a, b, dtype=torch.float64)
        linear.weight.data = params[2 * i][network].T.clone()
        linear.bias.data = params[2 * i + 1][network, 0].clone()
        layers += [linear, nn.Tanh() if shape.activation == "tanh" else nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("widths", [(1, 8, 6, 5), (4, 9, 3)])
@pytest.mark.parametrize("dropout", [False, True])
def test_forward_and_backward_equal_autograd(
    activation: Activation, widths: tuple[int, ...], dropout: bool
) -> None:
    shape = Shape(widths, activation)
    generator = torch.Generator().manual_seed(0)
    initial = [init_layers(shape, generator) for _ in range(COUNT)]
    stacked = StackedMLP(shape, [torch.stack(parts) for parts in zip(*initial, strict=True)])
    x = torch.randn(COUNT, ROWS, widths[0], generator=generator, dtype=torch.float64)
    grad = torch.randn(COUNT, TRAINED, widths[-1], generator=generator, dtype=torch.float64)
    masks = [
        (torch.rand(COUNT, ROWS, width, generator=generator) > 0.4).double() / 0.6
        for width in widths[1:-1]
    ]
    output = stacked.forward(x, masks if dropout else None).clone()
    of_input = stacked.backward(grad).clone()
    for i in range(COUNT):
        network = torch_mlp(shape, stacked.params, i)
        ours = x[i].clone().requires_grad_()
        values = ours
        for layer, module in enumerate(network):
            values = module(values)
            if dropout and layer % 2:
                values = values * masks[layer // 2][i]
        assert torch.allclose(values, output[i], rtol=1e-12, atol=1e-14)
        (values[:TRAINED] * grad[i]).sum().backward()
        assert ours.grad is not None
        assert torch.allclose(ours.grad[:TRAINED], of_input[i], rtol=1e-11, atol=1e-14)
        linears = [module for module in network if isinstance(module, nn.Linear)]
        for layer, linear in enumerate(linears):
            assert linear.weight.grad is not None
            assert linear.bias.grad is not None
            W, b = stacked.gradients[2 * layer][i], stacked.gradients[2 * layer + 1][i, 0]
            assert torch.allclose(linear.weight.grad.T, W, rtol=1e-11, atol=1e-14)
            assert torch.allclose(linear.bias.grad, b, rtol=1e-11, atol=1e-14)


def test_weights_backward_gives_the_same_gradients() -> None:
    shape = Shape((4, 9, 3), "relu")
    params = [part[None].repeat(2, 1, 1) for part in init_layers(shape, torch.Generator())]
    x, grad = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    full, weights_only = StackedMLP(shape, params), StackedMLP(shape, params)
    full.forward(x)
    full.backward(grad)
    weights_only.forward(x)
    weights_only.weights_backward(grad)
    for a, b in zip(full.gradients, weights_only.gradients, strict=True):
        assert torch.equal(a, b)


def test_initial_layers_are_distributed_as_in_torch() -> None:
    shape = Shape((25, 400, 100), "tanh")
    initial = init_layers(shape, torch.Generator().manual_seed(0))
    for inputs, part in zip((25, 25, 400, 400), initial, strict=True):
        bound = 1 / math.sqrt(inputs)
        assert part.abs().max() <= bound
        if part.numel() > 300:
            assert part.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    linear = nn.Linear(25, 400)
    assert linear.weight.abs().max() <= 1 / 5
    assert linear.weight.std().item() == pytest.approx(initial[0].std().item(), rel=0.05)
