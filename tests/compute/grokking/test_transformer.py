"""Stacked transformers against one with all positions, by autograd and torch.optim."""

import math

import pytest
import torch
from torch import Tensor

from compute.ensembles.trainer import Threshold, TrainConfig, Trainer, log_spaced_steps
from compute.grokking.modular_addition import (
    MEASURES,
    PARAM_NAMES,
    WARMUP_STEPS,
    ModularAdditionNetworks,
    init_params,
)
from compute.grokking.modular_setting import Architecture, Setting, n_train, pair_order
from compute.grokking.transformer import StackedTransformer, all_pairs

SHAPE = Architecture(p=7, d_model=12, heads=3, d_mlp=20)
SETTINGS = [
    Setting(train_fraction=0.5),
    Setting(train_fraction=0.5, seed=1, split_seed=5, weight_decay=0.1, learning_rate=3e-3),
]


def plain_logits(parts: list[Tensor], shape: Architecture, codes: Tensor) -> Tensor:
    """All three positions, causal attention, residual stream; logits at the last."""
    E, position, Q, K, V, O, W_in, b_in, W_out, b_out, U = parts  # noqa: E741
    p, heads, width = shape.p, shape.heads, shape.d_model // shape.heads
    tokens = torch.stack([codes // p, codes % p, torch.full_like(codes, p)], dim=1)
    x = E[tokens] + position
    q, k, v = ((x @ W).view(len(x), 3, heads, width).transpose(1, 2) for W in (Q, K, V))
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + mixed.transpose(1, 2).flatten(2) @ O
    x = x + torch.relu(x @ W_in + b_in) @ W_out + b_out
    return (x @ U)[:, -1]


def plain_loss(parts: list[Tensor], setting: Setting, train: bool = True) -> Tensor:
    size = n_train(SHAPE.p, setting.train_fraction)
    order = torch.as_tensor(pair_order(SHAPE.p, setting.split_seed))
    codes = order[:size] if train else order[size:]
    answers = (codes // SHAPE.p + codes % SHAPE.p) % SHAPE.p
    return torch.nn.functional.cross_entropy(plain_logits(parts, SHAPE, codes), answers)


def test_logits_equal_those_of_all_positions() -> None:
    networks = ModularAdditionNetworks(SHAPE, SETTINGS, dtype=torch.float64)
    codes = torch.arange(49)
    for i in range(2):
        parts = [param[i : i + 1] for param in networks.params]
        logits = StackedTransformer(SHAPE).forward(parts, all_pairs(7))[0]
        expected = plain_logits([param[i] for param in networks.params], SHAPE, codes)
        assert torch.allclose(logits, expected, rtol=1e-10, atol=1e-12)


def test_gradients_equal_autograd() -> None:
    networks = ModularAdditionNetworks(SHAPE, SETTINGS, dtype=torch.float64)
    # Initial biases are zero, which could hide a wrong gradient.
    for param in networks.params:
        param.add_(0.1 * torch.randn(param.shape, generator=torch.Generator().manual_seed(3)))
    networks.prepare(0)
    for i, setting in enumerate(SETTINGS):
        parts = [param[i].clone().requires_grad_() for param in networks.params]
        plain_loss(parts, setting).backward()
        for name, part, gradient in zip(PARAM_NAMES, parts, networks.gradients, strict=True):
            assert part.grad is not None
            assert torch.allclose(gradient[i], part.grad, rtol=1e-9, atol=1e-13), name


def test_a_stack_trains_as_torch() -> None:
    steps = 40
    networks = ModularAdditionNetworks(SHAPE, SETTINGS, dtype=torch.float64)
    train_config = TrainConfig(
        steps,
        {"train": Threshold("train_accuracy", 0.99)},
        MEASURES,
        log_spaced_steps(steps, 10),
        warmup=WARMUP_STEPS,
    )
    result = Trainer(networks, networks.optimizer(), train_config).train()
    for i, setting in enumerate(SETTINGS):
        parts = [part.clone().requires_grad_() for part in init_params(SHAPE, setting)]
        optimizer = torch.optim.AdamW(
            parts, lr=setting.learning_rate, betas=(0.9, 0.98), weight_decay=setting.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS)
        )
        for step in range(steps):
            if step == steps - 1:
                measures = {name: result.curves[name][i, -1] for name in MEASURES}
                assert measures["train_loss"] == pytest.approx(plain_loss(parts, setting).item())
                assert measures["test_loss"] == pytest.approx(
                    plain_loss(parts, setting, False).item()
                )
                squared_norm = sum((part**2).sum().item() for part in parts)
                assert measures["squared_weights"] == pytest.approx(squared_norm)
            optimizer.zero_grad()
            plain_loss(parts, setting).backward()
            optimizer.step()
            schedule.step()
        for part, param in zip(parts, result.params, strict=True):
            assert torch.allclose(part, param[i], rtol=1e-7, atol=1e-9)


def test_initial_weights_have_the_published_deviations() -> None:
    parts = dict(zip(PARAM_NAMES, init_params(Architecture(), Setting()), strict=True))
    for name, part in parts.items():
        if name.startswith("b"):
            assert (part == 0).all()
        elif name != "position":
            width = 114 if name == "U" else 128
            assert part.std().item() == pytest.approx(1 / math.sqrt(width), rel=0.03), name


def test_a_training_set_is_the_published_share_of_all_pairs() -> None:
    assert n_train(113, 0.3) == 3830
    order = pair_order(11, 3)
    assert sorted(order.tolist()) == list(range(121))


def test_the_norm_is_constant_on_the_sphere() -> None:
    settings = [
        Setting(train_fraction=0.5, alpha=0.8, weight_decay=0.0, on_sphere=s) for s in (True, False)
    ]
    networks = ModularAdditionNetworks(SHAPE, settings, dtype=torch.float64)
    config = TrainConfig(30, {}, ("squared_weights",), log_spaced_steps(30, 5))
    squares = Trainer(networks, networks.optimizer(), config).train().curves["squared_weights"]
    assert squares[0] == pytest.approx(squares[0, 0], rel=1e-12)
    assert abs(squares[1, -1] / squares[1, 0] - 1) > 1e-3


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: Architecture(p=2), "p >= 3"),
        (lambda: Architecture(d_model=10, heads=4), "not a multiple of 4 heads"),
        (lambda: Setting(train_fraction=1.0), "train_fraction is 1.0"),
        (lambda: Setting(weight_decay=-1.0), "weight_decay is -1.0"),
        (
            lambda: ModularAdditionNetworks(SHAPE, [Setting(train_fraction=0.2), SETTINGS[0]]),
            "train one stack per size",
        ),
    ],
)
def test_invalid_networks_are_rejected(factory: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory()  # type: ignore[operator]
