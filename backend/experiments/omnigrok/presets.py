"""Named runs of Omnigrok: reduced ones, and those of arXiv:2210.01117 as published."""

from typing import Any

from backend.experiments.grokking.presets import log_values
from backend.experiments.kind import Preset

_MNIST: dict[str, Any] = {"data": "mnist", "mnist": "mnist"}
_TEACHER: dict[str, Any] = {"data": "teacher_student", "learning_rate": 3e-4, "n_train": [100]}
_SIZES = [
    *(int(10 ** (1 + 3 * i / 21) + 1e-9) for i in range(22)),
    *(int(10 ** (4 + i / 7)) for i in range(1, 6)),
    60_000,
]

PRESETS = (
    Preset(
        "digits",
        "Digits: initial size by weight decay",
        "reduced",
        "At alpha 1 test accuracy comes with train accuracy; at 8 it waits for weight decay, and "
        "without decay it never comes",
        {"alphas": [1.0, 8.0], "weight_decays": [0.0, 0.03, 0.1, 0.3], "steps": 40_000},
    ),
    Preset(
        "sphere",
        "Digits on the sphere",
        "reduced",
        "Over the norm train loss is an L and test loss a U, lowest near alpha 1",
        {"alphas": [0.1, 0.3, 0.6, 1.0, 1.8, 3.0, 5.0, 8.0], "on_sphere": True, "steps": 10_000},
    ),
    Preset(
        "decay",
        "Weight decay by time",
        "reduced",
        "Weight decay times the step at which it generalises stays the same",
        {
            "alphas": [8.0],
            "weight_decays": [0.05, 0.07, 0.1, 0.14, 0.2, 0.3],
            "steps": 30_000,
            "stop_early": True,
        },
    ),
    Preset(
        "teacher",
        "Teacher and student",
        "reduced",
        "As published: train accuracy 0.99 near step 800, test accuracy some 20,000 steps later",
        {**_TEACHER, "alphas": [2.0], "weight_decays": [0.05], "steps": 100_000},
    ),
    Preset(
        "teacher_landscape",
        "Teacher and student on the sphere",
        "reduced",
        "As published: the same L and U for a regression",
        {**_TEACHER, "alphas": log_values(-1, 1, 11), "on_sphere": True, "steps": 10_000},
    ),
    Preset(
        "mnist",
        "MNIST",
        "full",
        "Published: train accuracy at once, test accuracy some thousand steps later",
        {
            **_MNIST,
            "alphas": [8.0],
            "weight_decays": [0.01],
            "n_train": [1000],
            "batch_size": 200,
            "steps": 100_000,
            "dtype": "float64",
        },
    ),
    Preset(
        "mnist_landscape",
        "MNIST on the sphere, by data size",
        "full",
        "The U of the test loss widens as the data grow: with enough of them there is no grokking",
        {
            **_MNIST,
            "alphas": log_values(-1, 1, 21),
            "n_train": _SIZES,
            "batch_size": 100,
            "on_sphere": True,
            "steps": 10_000,
            "eval_every": 50,
        },
    ),
)
