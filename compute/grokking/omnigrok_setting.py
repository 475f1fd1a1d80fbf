"""Data, shapes and settings of the networks of Omnigrok (compute.grokking.omnigrok)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compute.ensembles.settings import check_numbers
from compute.ensembles.shapes import Shape

Data = Literal["digits", "teacher_student", "mnist"]
TEACHER = Shape((5, 100, 100, 5), "tanh")
N_DIGITS = 1797  # of scikit-learn


@dataclass(frozen=True)
class DataInfo:
    """Facts about a data set that are known before it is loaded.

    Attributes:
        n_inputs: width of the input layer.
        n_outputs: width of the output layer.
        hidden: published widths of the hidden layers.
        n_test: number of test rows; 0: all rows that are not trained on.
        test_accuracy: published threshold of generalisation.
    """

    n_inputs: int
    n_outputs: int
    hidden: tuple[int, ...]
    n_test: int
    test_accuracy: float


DATA_INFO: dict[Data, DataInfo] = {
    "digits": DataInfo(64, 10, (100, 100), 0, 0.9),
    "teacher_student": DataInfo(5, 5, (100, 100), 100, 0.9),
    "mnist": DataInfo(784, 10, (200, 200), 10_000, 0.6),
}


def shape_of(data: Data, hidden: Sequence[int]) -> Shape:
    """Return the shape of a network for a data set; a student has its teacher's activation."""
    info = DATA_INFO[data]
    activation = TEACHER.activation if data == "teacher_student" else "relu"
    return Shape((info.n_inputs, *hidden, info.n_outputs), activation)


def n_test(data: Data, n_train: int) -> int:
    """Return the number of test rows."""
    return DATA_INFO[data].n_test or N_DIGITS - n_train


@dataclass(frozen=True)
class Setting:
    """Training settings of one network.

    Attributes:
        alpha: factor of all initial parameters.
        on_sphere: rescale to the initial norm after every step.
        batch_size: rows per step; 0 is all.
        seed: seed of the initial parameters and batches.
    """

    alpha: float = 1.0
    weight_decay: float = 0.0
    learning_rate: float = 1e-3
    on_sphere: bool = False
    batch_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value out of range."""
        check_numbers(self)
        if not self.alpha > 0:
            raise ValueError("alpha is 0, want > 0: a network of zeros does not learn")
