"""Stacked perceptrons on digits and a teacher, against plain PyTorch; and MNIST's files."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compute.ensembles.mlp import init_layers
from compute.ensembles.shapes import Shape
from compute.ensembles.trainer import Threshold, TrainConfig, Trainer
from compute.grokking.mnist_files import FILES as MNIST_FILES
from compute.grokking.omnigrok import MEASURES, PerceptronNetworks
from compute.grokking.omnigrok_setting import TEACHER, Setting
from compute.grokking.supervised import Supervised, digits, mnist, teacher_student

SHAPE = Shape((64, 12, 8, 10), "relu")
SETTINGS = [
    Setting(),
    Setting(alpha=4.0, weight_decay=0.3, seed=1),
    Setting(alpha=0.5, learning_rate=3e-3, on_sphere=True, seed=2),
]


def train_config(steps: int) -> TrainConfig:
    thresholds = {"train": Threshold("train_accuracy", 0.9)}
    return TrainConfig(steps, thresholds, MEASURES, np.array([0, steps - 1]), eval_every=5)


def plain_steps(setting: Setting, data: Supervised, steps: int) -> tuple[nn.Sequential, float]:
    """Train one network with modules and torch.optim; return it, and its first norm."""
    parts = init_layers(SHAPE, torch.Generator().manual_seed(setting.seed))
    modules: list[nn.Module] = []
    for W, b in zip(parts[::2], parts[1::2], strict=True):
        linear = nn.Linear(*W.shape, dtype=torch.float64)
        linear.weight.data, linear.bias.data = W.T * setting.alpha, b[0] * setting.alpha
        modules += [linear, nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    norm = math.sqrt(sum((part**2).sum().item() for part in model.parameters()))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=setting.learning_rate, weight_decay=setting.weight_decay
    )
    x, y = torch.as_tensor(data.inputs), torch.as_tensor(data.targets)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        if setting.on_sphere:
            accuracy = math.sqrt(sum((part**2).sum().item() for part in model.parameters()))
            for part in model.parameters():
                part.data *= norm / accuracy
    return model, norm


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_stack_trains_as_plain_pytorch(is_shared: bool) -> None:
    data = [digits(60, seed) for seed in ((0,) if is_shared else (0, 1, 2))]
    networks = PerceptronNetworks(SHAPE, SETTINGS, data, dtype=torch.float64)
    result = Trainer(networks, networks.optimizer(), train_config(60)).train()
    for i, setting in enumerate(SETTINGS):
        own = data[0] if is_shared else data[i]
        model, _ = plain_steps(setting, own, 60)
        linears = [module for module in model if isinstance(module, nn.Linear)]
        for layer, linear in enumerate(linears):
            W, b = result.params[2 * layer][i], result.params[2 * layer + 1][i, 0]
            assert torch.allclose(linear.weight.T, W, rtol=1e-8, atol=1e-10)
            assert torch.allclose(linear.bias, b, rtol=1e-8, atol=1e-10)
        before, norm = plain_steps(setting, own, 59)
        assert own.test_classes is not None
        with torch.no_grad():
            output = before(torch.as_tensor(own.test_inputs))
        is_correct = (output.argmax(dim=1).numpy() == own.test_classes).mean()
        error = ((output.numpy() - own.test_targets) ** 2).mean()
        measures = {name: result.curves[name][i, 1] for name in MEASURES}
        assert measures["test_accuracy"] == pytest.approx(is_correct, abs=1e-12)
        assert measures["test_loss"] == pytest.approx(error, rel=1e-6)
        assert result.curves["norm"][i, 0] == pytest.approx(norm, rel=1e-10)
        if setting.on_sphere:
            assert measures["norm"] == pytest.approx(norm, rel=1e-10)


def test_a_student_is_correct_within_a_thousandth() -> None:
    data = teacher_student(40, seed=0)
    shape = Shape((5, 30, 30, 5), "tanh")
    networks = PerceptronNetworks(shape, [Setting(learning_rate=5e-3)], [data], dtype=torch.float64)
    training = Trainer(networks, networks.optimizer(), train_config(400))
    result = training.train()
    networks.prepare(0)
    output = networks.mlp.forward(torch.as_tensor(data.inputs).expand(2, -1, -1))[0].numpy()
    errors = ((output - data.targets) ** 2).mean(axis=1)
    accuracy = networks.evaluate(0, ["train_accuracy"])["train_accuracy"][0].item()
    assert accuracy == pytest.approx((errors < 1e-3).mean(), abs=1e-12)
    assert result.curves["train_accuracy"][0, 0] < 0.2 < accuracy


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_student_of_the_same_seed_does_not_start_as_its_teacher(seed: int) -> None:
    data = teacher_student(50, seed)
    networks = PerceptronNetworks(TEACHER, [Setting(seed=seed)], [data], dtype=torch.float64)
    networks.prepare(0)
    measures = networks.evaluate(0, ["train_loss", "train_accuracy"])
    assert measures["train_loss"].item() > 0.1 * (data.targets**2).mean()
    assert measures["train_accuracy"].item() < 0.2


def test_results_with_batches_do_not_depend_on_the_other_networks() -> None:
    data = [digits(30, 0)]
    settings = [Setting(batch_size=7, seed=3), Setting(seed=4)]
    both = PerceptronNetworks(SHAPE, settings, data, dtype=torch.float64)
    result = Trainer(both, both.optimizer(), train_config(30)).train()
    for i, setting in enumerate(settings):
        networks = PerceptronNetworks(SHAPE, [setting], data, dtype=torch.float64)
        single = Trainer(networks, networks.optimizer(), train_config(30)).train()
        for a, b in zip(result.params, single.params, strict=True):
            assert torch.allclose(a[i], b[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("is_shared", [True, False])
def test_gathered_batches_equal_weighted_rows(is_shared: bool) -> None:
    data = [digits(30, seed) for seed in ((0,) if is_shared else (0, 1))]
    settings = [Setting(batch_size=7, seed=3), Setting(batch_size=7, seed=4)]
    gathered = PerceptronNetworks(SHAPE, settings, data, dtype=torch.float64)
    result = Trainer(gathered, gathered.optimizer(), train_config(30)).train()
    # A stack of several batch sizes computes all rows, with weight 0 outside the batch.
    others = [*settings, Setting(batch_size=8)]
    weighted = PerceptronNetworks(
        SHAPE, others, data if is_shared else [*data, data[0]], dtype=torch.float64
    )
    same = Trainer(weighted, weighted.optimizer(), train_config(30)).train()
    for a, b in zip(result.params, same.params, strict=True):
        assert torch.allclose(a, b[:2], rtol=1e-9, atol=1e-12)
    for name in MEASURES:
        assert result.curves[name] == pytest.approx(same.curves[name][:2], rel=1e-9)


def test_digits_are_split_without_overlap() -> None:
    data = digits(200, 0)
    assert (len(data.inputs), len(data.test_inputs)) == (200, 1597)
    assert data.inputs.min() == 0
    assert data.inputs.max() == 1
    rows = {row.tobytes() for row in data.inputs} & {row.tobytes() for row in data.test_inputs}
    assert not rows
    assert data.classes is not None
    assert (data.targets.argmax(axis=1) == data.classes).all()
    assert (digits(200, 0).inputs == data.inputs).all()
    assert (digits(200, 1).inputs != data.inputs).any()


def idx(values: np.ndarray) -> bytes:
    magic = 2048 + values.ndim
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


def write_mnist(folder: Path, is_gzipped: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mnist_arrays = {
        "images": rng.integers(0, 256, (20, 28, 28), np.uint8),
        "labels": rng.integers(0, 10, 20, np.uint8),
        "test_images": rng.integers(0, 256, (7, 28, 28), np.uint8),
        "test_labels": rng.integers(0, 10, 7, np.uint8),
    }
    for name, values in mnist_arrays.items():
        data = idx(values)
        path = folder / (MNIST_FILES[name] + (".gz" if is_gzipped else ""))
        path.write_bytes(gzip.compress(data) if is_gzipped else data)
    return mnist_arrays


@pytest.mark.parametrize("is_gzipped", [True, False])
def test_mnist_is_read_from_its_files(tmp_path: Path, is_gzipped: bool) -> None:
    mnist_arrays = write_mnist(tmp_path, is_gzipped)
    data = mnist(tmp_path, 12)
    assert data.inputs == pytest.approx(mnist_arrays["images"][:12].reshape(12, 784) / 255)
    assert data.classes is not None
    assert data.test_classes is not None
    assert (data.classes == mnist_arrays["labels"][:12]).all()
    assert (data.test_classes == mnist_arrays["test_labels"]).all()


def test_invalid_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no train-images-idx3-ubyte"):
        mnist(tmp_path, 5)
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match="n_train 21"):
        mnist(tmp_path, 21)
    images = tmp_path / MNIST_FILES["images"]
    whole = images.read_bytes()
    images.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="truncated"):
        mnist(tmp_path, 5)
    images.write_bytes(b"PK\x03\x04" + whole[4:])
    with pytest.raises(ValueError, match="not an IDX file"):
        mnist(tmp_path, 5)


def test_invalid_networks_are_rejected() -> None:
    with pytest.raises(ValueError, match="alpha is 0"):
        Setting(alpha=0.0)
    with pytest.raises(ValueError, match="n_train 1797"):
        digits(1797, 0)
    with pytest.raises(ValueError, match="want one for each"):
        PerceptronNetworks(SHAPE, SETTINGS, [digits(10, 0)] * 2)
    with pytest.raises(ValueError, match="train one stack per size"):
        PerceptronNetworks(SHAPE, SETTINGS, [digits(10 + i, 0) for i in range(3)])
