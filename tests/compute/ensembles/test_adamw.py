"""The stacked optimizer is torch's, network by network."""

import pytest
import torch

from compute.ensembles import adamw
from compute.ensembles.adamw import Betas, Rates, StackedAdamW

COUNT = 5


def stack(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((COUNT, 7, 3), (COUNT, 1, 4))
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("warmup", [0, 4])
def test_stacked_adamw_equals_torch_adamw(
    compiled: bool, warmup: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adamw, "HAS_NUMBA", compiled)
    lr = torch.logspace(-4, -1, COUNT, dtype=torch.float64)
    wd = torch.linspace(0, 2, COUNT, dtype=torch.float64)
    params = stack(0)
    single = [[param[i].clone().requires_grad_() for param in params] for i in range(COUNT)]
    optimizers = [
        torch.optim.AdamW(parts, lr=lr[i].item(), weight_decay=wd[i].item(), betas=(0.9, 0.98))
        for i, parts in enumerate(single)
    ]
    ours = StackedAdamW(params, [Rates(lr, wd)] * 2, Betas(beta2=0.98))
    for step in range(12):
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        gradients = stack(step + 1)
        ours.step(gradients, factor)
        for i, optimizer in enumerate(optimizers):
            optimizer.param_groups[0]["lr"] = lr[i].item() * factor
            for part, gradient in zip(single[i], gradients, strict=True):
                part.grad = gradient[i].clone()
            optimizer.step()
    for i, parts in enumerate(single):
        for part, param in zip(parts, params, strict=True):
            assert torch.allclose(part, param[i], rtol=1e-12, atol=1e-14)


def test_selected_networks_continue_unchanged() -> None:
    lr = torch.logspace(-4, -1, COUNT, dtype=torch.float64)
    whole, part = stack(0), stack(0)
    optimizers = [StackedAdamW(x, [Rates(lr, lr)] * 2) for x in (whole, part)]
    for step in range(3):
        for optimizer in optimizers:
            optimizer.step(stack(step + 1))
    rows = torch.tensor([1, 4])
    part = [param[rows] for param in part]
    optimizers[1].select(rows, part)
    optimizers[0].step(stack(9))
    optimizers[1].step([param[rows] for param in stack(9)])
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[rows], b)


def test_rates_must_fit_the_params() -> None:
    rates = Rates(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="2 params, 1 rates"):
        StackedAdamW(stack(0), [rates])
    with pytest.raises(ValueError, match="param 0 has 5 networks"):
        StackedAdamW(stack(0), [rates, rates])
