"""Data sets of Omnigrok: digits, MNIST from files, outputs of a random teacher.

Source: arXiv:2210.01117. The digits of scikit-learn (1,797 images of 8 x 8 pixels, from the UCI
repository), divided by 16, replace MNIST where it is not downloaded.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from compute.ensembles.mlp import StackedMLP, init_layers
from compute.ensembles.seeds import data_seed
from compute.grokking import mnist_files
from compute.grokking.omnigrok_setting import TEACHER

N_CLASSES = 10
# Squared error below which a teacher-student sample counts as correct.
CORRECT_BELOW = 1e-3


@dataclass(frozen=True)
class Supervised:
    """Inputs and targets of a training and a test set.

    Attributes:
        classes: classes of the training rows; None for regression.
        test_classes: classes of the test rows; None for regression.
    """

    inputs: Float[np.ndarray, "train inputs"]
    targets: Float[np.ndarray, "train outputs"]
    classes: Int[np.ndarray, " train"] | None
    test_inputs: Float[np.ndarray, "test inputs"]
    test_targets: Float[np.ndarray, "test outputs"]
    test_classes: Int[np.ndarray, " test"] | None


def _classified(
    inputs: NDArray[np.float64],
    classes: NDArray[np.int64],
    test_inputs: NDArray[np.float64],
    test_classes: NDArray[np.int64],
) -> Supervised:
    eye = np.eye(N_CLASSES)
    return Supervised(inputs, eye[classes], classes, test_inputs, eye[test_classes], test_classes)


def digits(n_train: int, seed: int) -> Supervised:
    """Return scikit-learn's digits: n_train random rows to train on, the others to test on.

    Raises:
        ValueError: the training or the test set is empty.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, classes = bunch.data / 16, bunch.target.astype(np.int64)
    if not 1 <= n_train < len(images):
        raise ValueError(f"n_train {n_train}: want 1 to {len(images) - 1} of the digits")
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[:n_train], order[n_train:]
    return _classified(images[train], classes[train], images[test], classes[test])


def teacher_student(n_train: int, seed: int, n_test: int = 100) -> Supervised:
    """Return normal inputs and the outputs of a random 5-100-100-5 tanh teacher.

    Raises:
        ValueError: the training or the test set is empty.
    """
    if n_train < 1 or n_test < 1:
        raise ValueError(f"n_train {n_train}, n_test {n_test}: want at least 1")
    generator = torch.Generator().manual_seed(data_seed(seed))
    teacher = StackedMLP(TEACHER, [part[None] for part in init_layers(TEACHER, generator)])
    count = n_train + n_test
    inputs = torch.randn(count, TEACHER.widths[0], generator=generator, dtype=torch.float64)
    x, y = inputs.numpy(), teacher.forward(inputs[None])[0].numpy()
    return Supervised(x[:n_train], y[:n_train], None, x[n_train:], y[n_train:], None)


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return pixels.reshape(len(pixels), -1) / 255


def mnist(folder: Path, n_train: int) -> Supervised:
    """Return MNIST from its four IDX files, with pixels divided by 255.

    The training set is the first n_train images, as published.

    Raises:
        ValueError: a file is missing or invalid, or n_train is out of range.
    """
    images, test_images, labels, test_labels = (
        mnist_files.read_idx(mnist_files.find_file(folder, name), magic)
        for name, magic in (
            ("images", mnist_files.IMAGES_MAGIC),
            ("test_images", mnist_files.IMAGES_MAGIC),
            ("labels", mnist_files.LABELS_MAGIC),
            ("test_labels", mnist_files.LABELS_MAGIC),
        )
    )
    for pixels, classes in ((images, labels), (test_images, test_labels)):
        if len(pixels) != len(classes) or not len(classes) or classes.max() >= N_CLASSES:
            raise ValueError(
                f"{folder}: {len(pixels)} images and {len(classes)} labels do not match"
            )
    if not 1 <= n_train <= len(images):
        raise ValueError(f"n_train {n_train}: want 1 to {len(images)}, the images in {folder}")
    return _classified(
        _flat(images[:n_train]),
        labels[:n_train].astype(np.int64),
        _flat(test_images),
        test_labels.astype(np.int64),
    )
