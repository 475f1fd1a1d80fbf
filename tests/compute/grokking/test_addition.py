"""Stacks of toy networks against plain PyTorch, one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.plain_toy import in_plain_order, plain_run
from compute.ensembles.trainer import Threshold, TrainConfig, Trainer, log_spaced_steps
from compute.grokking.addition import AdditionNetworks
from compute.grokking.parallelograms import rqi
from compute.grokking.problems import Problem, Setting, draw_split, n_train, s3_table

THRESHOLDS = {
    "train": Threshold("train_accuracy", 0.9),
    "test": Threshold("test_accuracy", 0.9),
    "rqi": Threshold("rqi", 0.95),
}
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "rqi", "representation")
VARIED = [
    Setting(),
    Setting(lr_representation=1e-2, lr_decoder=1e-3, wd_decoder=2.0, seed=3),
    Setting(lr_representation=1e-4, wd_representation=1.0, train_fraction=0.5, seed=4),
    Setting(init_scale=3.0, split_seed=7, train_fraction=0.9, seed=5),
]
NARROW = Problem(width=16)


def train_config(steps: int, **changes: object) -> TrainConfig:
    made = TrainConfig(steps, THRESHOLDS, MEASURES, log_spaced_steps(steps, 20))
    return replace(made, **changes)  # type: ignore[arg-type]


def trained(problem: Problem, settings: list[Setting], steps: int, **changes: object) -> Trainer:
    networks = AdditionNetworks(problem, settings, dtype=torch.float64)
    training = Trainer(networks, networks.optimizer(), train_config(steps, **changes))
    training.train()
    return training


@pytest.mark.parametrize(
    "problem",
    [
        Problem(width=30),
        Problem(width=30, loss="ce"),
        Problem(width=30, dim=2, p=7),
        Problem("s3", 6, 30, "mse", 9),
        Problem("s3", 6, 30, "ce", 9),
    ],
    ids=str,
)
def test_a_stack_takes_the_steps_of_plain_pytorch(problem: Problem) -> None:
    together = trained(problem, VARIED, 101)
    for i, setting in enumerate(VARIED):
        alone = plain_run(problem, setting, 101, torch.float64, keep=(100,))
        ours = in_plain_order(together.result.params, i)
        for a, b in zip(ours, alone.parameters[100], strict=True):
            assert (a - b).abs().max() < 1e-9
        for name in ("train", "test") if problem.task == "s3" else THRESHOLDS:
            assert together.result.threshold_steps[name][i] == alone.reached[name]


def test_what_is_reached_is_what_plain_pytorch_reaches() -> None:
    rates = [(1e-2, 3e-3), (3e-3, 3e-3), (1e-2, 1e-3), (1e-5, 1e-5), (1e-2, 1e-2)]
    settings = [
        Setting(lr_representation=e, lr_decoder=d, seed=seed + 1)
        for seed, (e, d) in enumerate(rates)
    ]
    problem, found = Problem(width=60), 0
    together = trained(problem, settings, 560)
    for i, setting in enumerate(settings):
        alone = plain_run(problem, setting, 560, torch.float64)
        for name in THRESHOLDS:
            assert together.result.threshold_steps[name][i] == alone.reached[name], (i, name)
            found += alone.reached[name] < 559
    assert found >= 6, "thresholds that are reached, not only missed"


def test_company_changes_nothing() -> None:
    settings = [*VARIED, Setting(dropout=0.2, seed=8), Setting(batch_size=9, seed=9)]
    together = trained(NARROW, settings, 120)
    for i, setting in enumerate(settings):
        alone = trained(NARROW, [setting], 120)
        for a, b in zip(together.result.params, alone.result.params, strict=True):
            assert torch.allclose(a[i], b[0], rtol=1e-9, atol=1e-12)
        for name in MEASURES:
            together_at, alone_at = together.result.curves[name][i], alone.result.curves[name][0]
            assert together_at == pytest.approx(alone_at, rel=1e-8, abs=1e-10, nan_ok=True)


def test_networks_that_have_shown_all_leave_and_the_others_go_on() -> None:
    settings = [
        Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1),
        Setting(lr_representation=1e-5, lr_decoder=1e-5),
        Setting(lr_representation=3e-3, lr_decoder=3e-3, seed=2),
    ]
    stay = trained(NARROW, settings, 900)
    leave = trained(NARROW, settings, 900, stop_thresholds=("train", "test"), stop_delay=20)
    steps = leave.result.threshold_steps
    for name in ("train", "test"):
        assert steps[name].tolist() == stay.result.threshold_steps[name].tolist()
    last = np.maximum(steps["train"], steps["test"])
    gone = last < 899
    assert gone.tolist() == [True, False, True]
    stopped = leave.result.stop_steps
    assert (stopped[gone] > last[gone] + 20).all()
    assert (stopped[gone] <= last[gone] + 20 + 51).all()
    assert stopped[~gone].tolist() == [900]
    log = leave.config.eval_steps
    for i in range(3):
        curve = leave.result.curves["train_loss"][i]
        before = log < stopped[i]
        assert np.isfinite(curve[before]).all()
        assert np.isnan(curve[~before]).all()
        assert curve[before] == pytest.approx(stay.result.curves["train_loss"][i][before], rel=1e-9)
    for a, b in zip(leave.result.params, stay.result.params, strict=True):
        assert torch.allclose(a[1], b[1], rtol=1e-9, atol=1e-12)


def test_a_stack_that_all_networks_have_left_ends() -> None:
    settings = [Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1)] * 2
    options = {"stop_thresholds": ("train", "test"), "stop_delay": 20}
    done = trained(NARROW, settings, 900, **options)
    assert (done.result.stop_steps < 900).all()
    assert not len(done.rows)
    whole = trained(NARROW, settings, int(done.result.stop_steps[0]))
    for left, kept in zip(done.result.params, whole.result.params, strict=True):
        assert torch.equal(left, kept)
    networks = AdditionNetworks(NARROW, settings, dtype=torch.float64)
    again = Trainer(networks, networks.optimizer(), train_config(900, **options))
    again.restore(done.state())
    again.train()
    assert again.step == done.step
    assert again.result.stop_steps.tolist() == done.result.stop_steps.tolist()
    for left, kept in zip(again.result.params, done.result.params, strict=True):
        assert torch.equal(left, kept)


@pytest.mark.parametrize("at", [1, 130, 420])
def test_a_training_goes_on_from_its_state_as_if_it_had_not_stopped(at: int) -> None:
    settings = [
        Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1),
        Setting(lr_representation=1e-3, dropout=0.1, seed=2),
        Setting(lr_representation=1e-3, batch_size=7, seed=3),
    ]
    options = {"stop_thresholds": ("train",), "stop_delay": 10}
    whole = trained(NARROW, settings, 600, **options)
    networks = AdditionNetworks(NARROW, settings, dtype=torch.float64)
    first = Trainer(networks, networks.optimizer(), train_config(600, **options))
    first.train(until=at)
    state = {name: value.clone() for name, value in first.state().items()}
    networks = AdditionNetworks(NARROW, settings, dtype=torch.float64)
    second = Trainer(networks, networks.optimizer(), train_config(600, **options))
    second.restore(state)
    second.train()
    assert (second.result.stop_steps == whole.result.stop_steps).all()
    for name in THRESHOLDS:
        assert (second.result.threshold_steps[name] == whole.result.threshold_steps[name]).all()
    for name in MEASURES:
        assert np.array_equal(second.result.curves[name], whole.result.curves[name], equal_nan=True)
    for a, b in zip(second.result.params, whole.result.params, strict=True):
        assert torch.equal(a, b)
    other = AdditionNetworks(Problem(width=8), settings)
    begun = Trainer(other, other.optimizer(), train_config(600))
    with pytest.raises(ValueError, match="start anew"):
        begun.restore(state)


def test_small_numbers_are_what_they_were_after_a_training() -> None:
    trained(NARROW, VARIED[:1], 5)
    assert float(np.array([5e-324])[0] * np.ones(1)[0]) > 0


def test_rqi_of_a_stack_is_that_of_the_definition() -> None:
    networks = AdditionNetworks(
        Problem(width=8, dim=2), [Setting(seed=s) for s in range(6)], "cpu", torch.float64
    )
    networks.prepare(0)
    spread = torch.linspace(0, 1, 10, dtype=torch.float64)[:, None] * torch.ones(2)
    networks.E[:3] = spread + 0.02 * networks.E[:3]
    networks.E[5] = 1.0
    found = networks.evaluate(0, ["rqi"])["rqi"].numpy()
    assert found == pytest.approx(rqi(networks.E.numpy()), abs=1e-12)
    assert found[5] == 0
    assert found[:3].max() > 0.3


def test_the_initial_rqi_of_random_numbers_is_small() -> None:
    networks = AdditionNetworks(Problem(width=4), [Setting(seed=s) for s in range(40)])
    networks.prepare(0)
    found = networks.evaluate(0, ["rqi"])["rqi"].numpy() * 70
    assert np.abs(found - found.round()).max() < 1e-4, "a share of 70 parallelograms"
    assert found.mean() < 10


def test_the_published_split_has_its_targets_and_sizes() -> None:
    split = draw_split(Problem(), 58)
    rng = np.random.RandomState(58)
    assert (split.targets == rng.normal(0, 1, (19, 30))).all()
    assert (split.order[:45] == rng.choice(55, 45, replace=False)).all()
    assert n_train(Problem(), Setting()) == 45


def test_s3_is_a_group_that_does_not_commute() -> None:
    table = s3_table()
    assert (np.sort(table, axis=0) == np.arange(6)[:, None]).all()
    assert (np.sort(table, axis=1) == np.arange(6)).all()
    for a, b, c in np.ndindex(6, 6, 6):
        assert table[table[a, b], c] == table[a, table[b, c]]
    assert (table != table.T).any()


def test_batches_are_epochs_of_the_training_set() -> None:
    networks = AdditionNetworks(NARROW, [Setting(batch_size=9, seed=1)], dtype=torch.float64)
    seen = torch.zeros(55, dtype=torch.float64)
    for step in range(5):
        weights = networks._step_weights(step)[0]
        assert weights.sum().item() == pytest.approx(1)
        assert (weights > 0).sum() == 9
        seen += weights > 0
    assert (seen[:45] == 1).all()
    assert (seen[45:] == 0).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_fraction": 0.0}, "train_fraction is 0.0"),
        ({"train_fraction": 1.5}, "train_fraction is 1.5"),
        ({"lr_decoder": -1.0}, "lr_decoder is -1.0"),
        ({"lr_representation": float("nan")}, "lr_representation is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"init_scale": 0.0}, "init_scale is 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Setting(**changes)  # type: ignore[arg-type]
