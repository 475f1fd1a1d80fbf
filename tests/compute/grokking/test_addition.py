"""Stacks of toy networks against single networks in plain PyTorch."""

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
    config = TrainConfig(steps, THRESHOLDS, MEASURES, log_spaced_steps(steps, 20))
    return replace(config, **changes)  # type: ignore[arg-type]


def train(
    problem: Problem,
    settings: list[Setting],
    steps: int,
    until: int | None = None,
    **changes: object,
) -> Trainer:
    networks = AdditionNetworks(problem, settings, dtype=torch.float64)
    trainer = Trainer(networks, networks.optimizer(), train_config(steps, **changes))
    trainer.train(until)
    return trainer


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
def test_a_stack_trains_as_plain_pytorch(problem: Problem) -> None:
    stack = train(problem, VARIED, 101)
    for i, setting in enumerate(VARIED):
        single = plain_run(problem, setting, 101, torch.float64, record_steps=(100,))
        ours = in_plain_order(stack.result.params, i)
        for a, b in zip(ours, single.params[100], strict=True):
            assert (a - b).abs().max() < 1e-9
        for name in ("train", "test") if problem.task == "s3" else THRESHOLDS:
            assert stack.result.threshold_steps[name][i] == single.threshold_steps[name]


def test_threshold_steps_equal_those_of_plain_pytorch() -> None:
    rates = [(1e-2, 3e-3), (3e-3, 3e-3), (1e-2, 1e-3), (1e-5, 1e-5), (1e-2, 1e-2)]
    settings = [
        Setting(lr_representation=e, lr_decoder=d, seed=seed + 1)
        for seed, (e, d) in enumerate(rates)
    ]
    problem, n_reached = Problem(width=60), 0
    stack = train(problem, settings, 560)
    for i, setting in enumerate(settings):
        single = plain_run(problem, setting, 560, torch.float64)
        for name in THRESHOLDS:
            assert stack.result.threshold_steps[name][i] == single.threshold_steps[name], (i, name)
            n_reached += single.threshold_steps[name] < 559
    assert n_reached >= 6


def test_results_do_not_depend_on_the_other_networks() -> None:
    settings = [*VARIED, Setting(dropout=0.2, seed=8), Setting(batch_size=9, seed=9)]
    stack = train(NARROW, settings, 120)
    for i, setting in enumerate(settings):
        single = train(NARROW, [setting], 120)
        for a, b in zip(stack.result.params, single.result.params, strict=True):
            assert torch.allclose(a[i], b[0], rtol=1e-9, atol=1e-12)
        for name in MEASURES:
            ours, theirs = stack.result.curves[name][i], single.result.curves[name][0]
            assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-10, nan_ok=True)


def test_a_single_network_is_padded_to_two() -> None:
    """bmm rounds differently for a batch of one: a single network trains as a row of a pair."""
    setting = Setting(lr_representation=1e-2, dropout=0.1, batch_size=9, seed=3)
    single, pair = train(NARROW, [setting], 60), train(NARROW, [setting] * 2, 60)
    assert len(single.networks.params[0]) == 2
    for a, b in zip(single.result.params, pair.result.params, strict=True):
        assert torch.equal(a[0], b[0])
    for name in MEASURES:
        assert np.array_equal(single.result.curves[name][0], pair.result.curves[name][0])
    resumed = train(NARROW, [setting], 60, until=0)
    resumed.restore(train(NARROW, [setting], 60, until=25).state())
    for a, b in zip(resumed.train().params, single.result.params, strict=True):
        assert torch.equal(a, b)


def test_finished_networks_are_dropped_and_the_others_continue() -> None:
    settings = [
        Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1),
        Setting(lr_representation=1e-5, lr_decoder=1e-5),
        Setting(lr_representation=3e-3, lr_decoder=3e-3, seed=2),
    ]
    full = train(NARROW, settings, 900)
    dropped = train(NARROW, settings, 900, stop_thresholds=("train", "test"), stop_delay=20)
    steps = dropped.result.threshold_steps
    for name in ("train", "test"):
        assert steps[name].tolist() == full.result.threshold_steps[name].tolist()
    last = np.maximum(steps["train"], steps["test"])
    is_dropped = last < 899
    assert is_dropped.tolist() == [True, False, True]
    stopped = dropped.result.stop_steps
    assert (stopped[is_dropped] > last[is_dropped] + 20).all()
    assert (stopped[is_dropped] <= last[is_dropped] + 20 + 51).all()
    assert stopped[~is_dropped].tolist() == [900]
    eval_steps = dropped.config.eval_steps
    for i in range(3):
        curve = dropped.result.curves["train_loss"][i]
        before = eval_steps < stopped[i]
        assert np.isfinite(curve[before]).all()
        assert np.isnan(curve[~before]).all()
        assert curve[before] == pytest.approx(full.result.curves["train_loss"][i][before], rel=1e-9)
    for a, b in zip(dropped.result.params, full.result.params, strict=True):
        assert torch.allclose(a[1], b[1], rtol=1e-9, atol=1e-12)


def test_training_ends_once_all_networks_are_dropped() -> None:
    settings = [Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1)] * 2
    options = {"stop_thresholds": ("train", "test"), "stop_delay": 20}
    ended = train(NARROW, settings, 900, **options)
    assert (ended.result.stop_steps < 900).all()
    assert not len(ended.rows)
    shorter = train(NARROW, settings, int(ended.result.stop_steps[0]))
    for a, b in zip(ended.result.params, shorter.result.params, strict=True):
        assert torch.equal(a, b)
    networks = AdditionNetworks(NARROW, settings, dtype=torch.float64)
    resumed = Trainer(networks, networks.optimizer(), train_config(900, **options))
    resumed.restore(ended.state())
    resumed.train()
    assert resumed.step == ended.step
    assert resumed.result.stop_steps.tolist() == ended.result.stop_steps.tolist()
    for a, b in zip(resumed.result.params, ended.result.params, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("at", [1, 130, 420])
def test_a_resumed_training_equals_an_uninterrupted_one(at: int) -> None:
    settings = [
        Setting(lr_representation=1e-2, lr_decoder=3e-3, seed=1),
        Setting(lr_representation=1e-3, dropout=0.1, seed=2),
        Setting(lr_representation=1e-3, batch_size=7, seed=3),
    ]
    options = {"stop_thresholds": ("train",), "stop_delay": 10}
    whole = train(NARROW, settings, 600, **options)
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
    smaller = AdditionNetworks(Problem(width=8), settings)
    trainer = Trainer(smaller, smaller.optimizer(), train_config(600))
    with pytest.raises(ValueError, match="start anew"):
        trainer.restore(state)


def test_denormals_are_not_flushed_after_training() -> None:
    train(NARROW, VARIED[:1], 5)
    assert float(np.array([5e-324])[0] * np.ones(1)[0]) > 0


def test_rqi_of_a_stack_equals_its_definition() -> None:
    networks = AdditionNetworks(
        Problem(width=8, dim=2), [Setting(seed=s) for s in range(6)], "cpu", torch.float64
    )
    networks.prepare(0)
    spread = torch.linspace(0, 1, 10, dtype=torch.float64)[:, None] * torch.ones(2)
    networks.E[:3] = spread + 0.02 * networks.E[:3]
    networks.E[5] = 1.0
    rqis = networks.evaluate(0, ["rqi"])["rqi"].numpy()
    assert rqis == pytest.approx(rqi(networks.E.numpy()), abs=1e-12)
    assert rqis[5] == 0
    assert rqis[:3].max() > 0.3


def test_the_initial_rqi_of_random_numbers_is_small() -> None:
    networks = AdditionNetworks(Problem(width=4), [Setting(seed=s) for s in range(40)])
    networks.prepare(0)
    rqis = networks.evaluate(0, ["rqi"])["rqi"].numpy() * 70
    assert np.abs(rqis - rqis.round()).max() < 1e-4, "a share of 70 parallelograms"
    assert rqis.mean() < 10


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
    count = torch.zeros(55, dtype=torch.float64)
    for step in range(5):
        weights = networks._step_weights(step)[0]
        assert weights.sum().item() == pytest.approx(1)
        assert (weights > 0).sum() == 9
        count += weights > 0
    assert (count[:45] == 1).all()
    assert (count[45:] == 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_fraction": 0.0}, "train_fraction is 0.0"),
        ({"train_fraction": 1.5}, "train_fraction is 1.5"),
        ({"lr_decoder": -1.0}, "lr_decoder is -1.0"),
        ({"lr_representation": float("nan")}, "lr_representation is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"init_scale": 0.0}, "init_scale is 0.0"),
    ],
)
def test_invalid_settings_are_rejected(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Setting(**changes)  # type: ignore[arg-type]
