"""Data that Omnigrok's networks learn: digits, MNIST from a file, a teacher's outputs.

Source: arXiv:2210.01117. Digits are those of scikit-learn (1,797 images of 8 x 8, from the UCI
repository), divided by 16; a small stand-in for MNIST that needs no download.
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
# A teacher-student sample counts as right under this squared error.
CORRECT_BELOW = 1e-3


@dataclass(frozen=True)
class Supervised:
    """Inputs and targets to train on and to test on.

    Attributes:
        classes: of the train rows, None where a target is no class.
        test_classes: of the test rows.
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
    """Return scikit-learn's digits: n_train at random to train on, all others to test on.

    Raises:
        ValueError: n_train leaves nothing to train or to test on.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images, classes = found.data / 16, found.target.astype(np.int64)
    if not 1 <= n_train < len(images):
        raise ValueError(f"n_train {n_train}: want 1 to {len(images) - 1} of the digits")
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[:n_train], order[n_train:]
    return _classified(images[train], classes[train], images[test], classes[test])


def teacher_student(n_train: int, seed: int, n_test: int = 100) -> Supervised:
    """Return normal inputs and a random teacher's outputs, 5-100-100-5 tanh.

    Raises:
        ValueError: nothing to train or to test on.
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
    """Return MNIST from a folder with its four IDX files, compressed or not.

    The first n_train training images, as published; pixels divided by 255.

    Raises:
        ValueError: a file is missing, is no such file, or n_train is out of range.
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
    for pixels, of in ((images, labels), (test_images, test_labels)):
        if len(pixels) != len(of) or not len(of) or of.max() >= N_CLASSES:
            raise ValueError(f"{folder}: {len(pixels)} images and {len(of)} labels do not fit")
    if not 1 <= n_train <= len(images):
        raise ValueError(f"n_train {n_train}: want 1 to {len(images)}, the images in {folder}")
    return _classified(
        _flat(images[:n_train]),
        labels[:n_train].astype(np.int64),
        _flat(test_images),
        test_labels.astype(np.int64),
    )
