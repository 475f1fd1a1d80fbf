"""What networks of Omnigrok are and learn, and how one is trained (compute.grokking.omnigrok)."""

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
    """What is known of data before they are there.

    Attributes:
        n_inputs: of a network.
        n_outputs: of a network.
        hidden: widths between them, as published.
        n_test: rows to test on; 0: those that are not trained on.
        test_accuracy: that counts as generalising, as published.
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
    """Return the shape of a network on some data; a student is like its teacher."""
    facts = DATA_INFO[data]
    activation = TEACHER.activation if data == "teacher_student" else "relu"
    return Shape((facts.n_inputs, *hidden, facts.n_outputs), activation)


def n_test(data: Data, n_train: int) -> int:
    """Return how many rows a network is tested on."""
    return DATA_INFO[data].n_test or N_DIGITS - n_train


@dataclass(frozen=True)
class Setting:
    """How one network is trained.

    Attributes:
        alpha: factor of all initial parameters.
        on_sphere: keep the initial norm.
        batch_size: train rows of a step; 0 is all.
        seed: of the initial parameters and batches.
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
            raise ValueError("alpha is 0: a network of zeros learns nothing")
