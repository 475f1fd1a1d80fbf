"""Training settings of phase diagrams.

Source: arXiv:2205.10343, section 4.
"""

from compute.ensembles.trainer import Threshold, TrainConfig, log_spaced_steps

MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "rqi", "representation")
THRESHOLDS = {
    "train": Threshold("train_accuracy", 0.9),
    "test": Threshold("test_accuracy", 0.9),
    # The published rule is > 0.95; shares of parallelograms differ by more than 1e-6.
    "rqi": Threshold("rqi", 0.95 + 1e-6),
}


def train_config(
    steps: int, *, n_evals: int = 80, stop_early: bool = True, stop_delay: int = 200
) -> TrainConfig:
    """Return the training settings of the cells.

    Args:
        steps: budget S.
        n_evals: approximate number of points of a curve.
        stop_early: stop a cell once its phase is known.
        stop_delay: steps to train on after that.
    """
    return TrainConfig(
        steps,
        THRESHOLDS,
        MEASURES,
        log_spaced_steps(steps, n_evals),
        stop_thresholds=("train", "test") if stop_early else (),
        stop_delay=stop_delay,
    )
