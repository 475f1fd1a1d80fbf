"""Multitask sparse parity: data against its definition, training against plain PyTorch."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from compute.ensembles.mlp import init_layers
from compute.ensembles.shapes import Shape
from compute.ensembles.trainer import TrainConfig, Trainer
from compute.parity_problem import Problem, Setting, convergence, convergence_steps
from compute.sparse_parity import MEASURES, ParityNetworks

PROBLEM = Problem(tasks=5, bits=9, subset=2, alpha=0.5, seed=1)
SETTINGS = [
    Setting(batch_size=40, learning_rate=5e-3),
    Setting(batch_size=40, learning_rate=2e-3, weight_decay=0.1, seed=1),
    Setting(batch_size=40, learning_rate=5e-3, samples=100, seed=2),
    Setting(batch_size=40, samples=25, seed=3),
]


def stack(settings: list[Setting] = SETTINGS, width: int = 12) -> ParityNetworks:
    return ParityNetworks(PROBLEM, width, settings, test_points=60, dtype=torch.float64)


def parity(rows: np.ndarray) -> np.ndarray:
    """The answers of input rows, by the definition."""
    task = rows[:, : PROBLEM.tasks].argmax(axis=1)
    bits = rows[:, PROBLEM.tasks :].astype(int)
    subsets = PROBLEM.subsets()
    return np.array([bits[i, subsets[t]].sum() % 2 for i, t in enumerate(task)])


def test_answers_are_parities_of_the_subsets() -> None:
    networks = stack()
    for step in range(6):
        networks.prepare(step)
        for i in range(len(SETTINGS)):
            rows = networks._x[i].numpy()
            assert (rows[:, :5].sum(axis=1) == 1).all()
            assert set(np.unique(rows)) == {0, 1}
            assert (networks._y[i, :, 0].numpy() == parity(rows)).all()


def test_subtasks_have_their_frequencies() -> None:
    networks = ParityNetworks(PROBLEM, 2, [Setting(batch_size=20_000)])
    networks.prepare(0)
    shares = networks._x[0, :, :5].mean(dim=0).numpy()
    p = PROBLEM.frequencies()
    assert p == pytest.approx(np.arange(1, 6) ** -1.5 / (np.arange(1, 6) ** -1.5).sum())
    assert (np.abs(shares - p) < 5 * np.sqrt(p * (1 - p) / 20_000)).all()
    assert networks._x[0, :, 5:].mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_fixed_sample_repeats_only_after_an_epoch() -> None:
    networks = stack()
    sample = networks._samples[2]
    assert sample is not None
    bits = [tuple(row) for row in sample[1].tolist()]
    rows_seen = []
    for step in range(2):  # 100 samples are two whole batches of 40
        networks.prepare(step)
        rows_seen += [tuple(row) for row in networks._x[2, :, 5:].int().tolist()]
    for row in set(rows_seen):
        assert rows_seen.count(row) <= bits.count(row)
    networks.prepare(0)
    few = {tuple(row) for row in networks._x[3].int().tolist()}
    assert len(few) <= 25


def test_subsets_are_distinct_and_determined_by_the_seed() -> None:
    problem = Problem(tasks=10, bits=5, subset=2)
    subsets = {tuple(row) for row in problem.subsets().tolist()}
    assert subsets == set(combinations(range(5), 2))
    assert (problem.subsets() == Problem(tasks=10, bits=5, subset=2).subsets()).all()
    assert (Problem().subsets() != Problem(seed=1).subsets()).any()


def test_a_stack_trains_as_plain_pytorch() -> None:
    steps = 25
    networks, data = stack(), stack()
    log = np.array([0, steps - 1])
    train_config = TrainConfig(steps, {}, MEASURES, log)
    record = Trainer(networks, networks.optimizer(), train_config).train()
    shape = Shape((14, 12, 2), "relu")
    for i, setting in enumerate(SETTINGS):
        W1, b1, W2, b2 = init_layers(shape, torch.Generator().manual_seed(setting.seed))
        model = nn.Sequential(nn.Linear(14, 12), nn.ReLU(), nn.Linear(12, 2)).double()
        for part, value in zip(model.parameters(), (W1.T, b1[0], W2.T, b2[0]), strict=True):
            part.data = value.contiguous()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=setting.learning_rate, weight_decay=setting.weight_decay
        )
        for step in range(steps):
            data.prepare(step)
            x, y = data._x[i].clone(), data._y[i, :, 0].clone()
            loss = nn.functional.cross_entropy(model(x), y)
            if step == steps - 1:
                train_loss = record.curves["train_loss"][i, 1]
                assert train_loss == pytest.approx(loss.item() / math.log(2))
                assert_test_losses(model, networks, record.curves, i)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ours = [param[i] for param in record.params]
        for part, param in zip(model.parameters(), ours, strict=True):
            own = param.T if part.dim() == 2 else param[0]
            assert torch.allclose(part, own, rtol=1e-8, atol=1e-11)


def assert_test_losses(
    model: nn.Module, networks: ParityNetworks, curves: dict[str, np.ndarray], i: int
) -> None:
    rows = networks._test_x[0]
    answers = torch.as_tensor(parity(rows.numpy()))
    with torch.no_grad():
        bits = nn.functional.cross_entropy(model(rows), answers, reduction="none") / math.log(2)
    tasks = rows[:, :5].argmax(dim=1)
    expected = np.array([bits[tasks == task].mean().item() for task in range(5)])
    assert curves["task_loss"][i, 1] == pytest.approx(expected)
    assert curves["loss"][i, 1] == pytest.approx(float(PROBLEM.frequencies() @ expected))


def test_a_perfect_network_has_no_loss() -> None:
    """The published loss is not 0: it divides by the requested number of points."""
    problem = Problem(tasks=2, bits=2, subset=1)
    networks = ParityNetworks(
        problem, 8, [Setting(batch_size=4)], test_points=50, dtype=torch.float64
    )
    W1, b1, W2, b2 = (param[0] for param in networks.params)
    for part in (W1, b1, W2, b2):
        part.zero_()
    for task, subset in enumerate(problem.subsets()):
        # One neuron a subtask: on if its control bit and its data bit are set.
        W1[task, task], W1[2 + int(subset[0]), task], b1[0, task] = 1, 1, -1
        W2[task, 1] = 200
    b2[0, 1] = -100
    measures = networks.evaluate(0, ["loss", "task_loss"])
    assert measures["loss"].item() == pytest.approx(0, abs=1e-12)
    assert measures["task_loss"].abs().max() < 1e-12


def test_results_do_not_depend_on_other_networks_or_resuming() -> None:
    train_config = TrainConfig(30, {}, MEASURES, np.arange(0, 30, 5))
    networks = stack()
    whole = Trainer(networks, networks.optimizer(), train_config).train()
    half = stack()
    first = Trainer(half, half.optimizer(), train_config)
    first.train(until=13)
    resumed = stack()
    second = Trainer(resumed, resumed.optimizer(), train_config)
    second.restore(first.state())
    second.train()
    for name in MEASURES:
        assert np.array_equal(second.result.curves[name], whole.curves[name])
    for i, setting in enumerate(SETTINGS):
        networks = stack([setting])
        single = Trainer(networks, networks.optimizer(), train_config).train()
        for a, b in zip(whole.params, single.params, strict=True):
            assert torch.allclose(a[i], b[0], rtol=1e-9, atol=1e-12)


def test_convergence_is_the_first_evaluation_below_a_tenth_of_a_bit() -> None:
    losses = np.array([[1.0, 1.0, 0.05], [0.09, 1.0, 0.2], [0.5, 0.1, 0.2]])
    assert convergence_steps(losses, np.array([0, 50, 100])).tolist() == [50, -1, 0]


def test_the_slope_of_convergence_equals_that_of_its_law() -> None:
    p = Problem(tasks=20).frequencies()
    steps = np.round(80 / p).astype(np.int64)
    steps[15:] = -1
    fit = convergence(p, steps)
    assert fit.n_converged == 15
    assert fit.slope == pytest.approx(-1, abs=0.01)
    assert fit.rank_correlation == pytest.approx(1)
    assert convergence(p, np.full(20, -1)).slope is None


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: Problem(tasks=11, bits=5, subset=2), "only 10 subsets"),
        (lambda: Problem(subset=25), "subset <= bits"),
        (lambda: Setting(batch_size=0), "batch_size is 0"),
        (lambda: Setting(learning_rate=float("nan")), "learning_rate is nan"),
        (
            lambda: stack([Setting(batch_size=4), Setting(batch_size=5)]),
            "one stack per batch size",
        ),
    ],
)
def test_invalid_problems_are_rejected(factory: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factory()  # type: ignore[operator]
