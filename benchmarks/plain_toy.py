"""One toy network in plain PyTorch (modules, autograd, torch.optim): the reference of stacks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from compute.grokking.addition import init_params
from compute.grokking.parallelograms import rqi
from compute.grokking.problems import Problem, Setting, draw_split, n_train


@dataclass(frozen=True)
class PlainRun:
    """First step at each threshold (S - 1 if never), and parameters after the recorded steps."""

    threshold_steps: dict[str, int]
    params: dict[int, list[Tensor]]


class PlainToy(nn.Module):
    """E and a decoder, written as usual in PyTorch."""

    def __init__(self, problem: Problem, setting: Setting, dtype: torch.dtype) -> None:
        super().__init__()
        E, *layers = init_params(problem, setting)
        self.problem = problem
        self.E = nn.Parameter(E.to(dtype))
        parts: list[nn.Module] = []
        for W, b in zip(layers[::2], layers[1::2], strict=True):
            linear = nn.Linear(*W.shape, dtype=dtype)
            linear.weight.data, linear.bias.data = W.T.to(dtype).contiguous(), b[0].to(dtype)
            parts += [linear, nn.Tanh()]
        self.decoder = nn.Sequential(*parts[:-1])

    def forward(self, pairs: Tensor) -> Tensor:
        """Return the outputs for pairs of numbers."""
        left, is_correct = self.E[pairs[:, 0]], self.E[pairs[:, 1]]
        if self.problem.task == "addition":
            return self.decoder(left + is_correct)
        return self.decoder((left.view(-1, 3, 3) @ is_correct.view(-1, 3, 3)).flatten(1))


def _optimizer(model: PlainToy, setting: Setting) -> torch.optim.Optimizer:
    E = {
        "params": [model.E],
        "lr": setting.lr_representation,
        "weight_decay": setting.wd_representation,
    }
    decoder = {
        "params": model.decoder.parameters(),
        "lr": setting.lr_decoder,
        "weight_decay": setting.wd_decoder,
    }
    return torch.optim.AdamW([E, decoder])


def plain_run(
    problem: Problem,
    setting: Setting,
    steps: int,
    dtype: torch.dtype = torch.float32,
    record_steps: tuple[int, ...] = (),
    stop_early: bool = False,
    device: str = "cpu",
) -> PlainRun:
    """Train one network; evaluate accuracies and RQI before every step.

    Args:
        record_steps: steps after which the parameters are recorded.
        stop_early: stop once train and test threshold are reached.
    """
    split = draw_split(problem, setting.split_seed)
    model = PlainToy(problem, setting, dtype).to(device)
    optimizer = _optimizer(model, setting)
    size = n_train(problem, setting)
    pairs = torch.as_tensor(problem.pairs()[split.order]).to(device)
    answers = torch.as_tensor(problem.answers()[split.order]).to(device)
    targets = torch.as_tensor(split.targets).to(device, dtype)
    loss_of = nn.MSELoss() if problem.loss == "mse" else nn.CrossEntropyLoss()
    expected = targets[answers] if problem.loss == "mse" else answers
    threshold_steps = dict.fromkeys(("train", "test", "rqi"), steps - 1)
    params = {}
    for step in range(steps):
        output = model(pairs)
        with torch.no_grad():
            scores = -torch.cdist(output, targets) if problem.loss == "mse" else output
            is_correct = (scores.argmax(dim=1) == answers).to(torch.float64)
            is_at_threshold = {"train": is_correct[:size].mean().item() >= 0.9}
            is_at_threshold["test"] = (
                size < len(is_correct) and is_correct[size:].mean().item() >= 0.9
            )
            if problem.task == "addition":
                is_at_threshold["rqi"] = bool(rqi(model.E.detach().double().cpu().numpy()) >= 0.95)
        for name, is_reached in is_at_threshold.items():
            if is_reached and threshold_steps[name] == steps - 1:
                threshold_steps[name] = step
        if stop_early and max(threshold_steps["train"], threshold_steps["test"]) < steps - 1:
            break
        optimizer.zero_grad()
        loss_of(output[:size], expected[:size]).backward()
        optimizer.step()
        if step in record_steps:
            params[step] = [part.detach().clone() for part in model.parameters()]
    return PlainRun(threshold_steps, params)


def in_plain_order(params: list[Tensor], network: int) -> list[Tensor]:
    """Return one network's parameters of a stack in the order and shapes of `PlainToy`."""
    E, *layers = [param[network] for param in params]
    weights = [W.T for W in layers[::2]]
    biases = [b[0] for b in layers[1::2]]
    return [E, *[part for both in zip(weights, biases, strict=True) for part in both]]


def learning_rate_grid(n: int, seed: int = 0) -> list[Setting]:
    """Return the settings of an n x n grid over both learning rates, 1e-5 to 1e-2."""
    rates = 10 ** np.linspace(-5, -2, n)
    return [
        Setting(lr_representation=float(e), lr_decoder=float(d), seed=seed)
        for e in rates
        for d in rates
    ]
