"""Named phase diagrams: reduced ones, and those of arXiv:2205.10343 as published."""

from typing import Any

from backend.experiments.kind import Preset


def log_values(low: float, high: float, count: int) -> list[float]:
    """Return values from 10^low to 10^high, evenly in the logarithm, to four digits."""
    step = (high - low) / (count - 1)
    return [float(f"{10 ** (low + step * i):.3e}") for i in range(count)]


def _grid(x: str, x_values: list[float], y: str, y_values: list[float], **own: Any) -> Any:
    return {"x": x, "x_values": x_values, "y": y, "y_values": y_values, **own}


def _rates(lr_representation: list[float], lr_decoder: list[float], **own: Any) -> Any:
    return _grid("lr_representation", lr_representation, "lr_decoder", lr_decoder, **own)


def _decays(wd_decoder: list[float], **own: Any) -> Any:
    return _grid("lr_decoder", _FINE, "wd_decoder", wd_decoder, **own)


_WIDE = log_values(-5, -2, 10)
_FINE = log_values(-4, -2, 11)
PRESETS = (
    Preset(
        "grid",
        "Learning rates, 5 x 5",
        "reduced",
        "Slow decoders comprehend, fast ones memorise, slow representations confuse; grokking "
        "lies at the edge between them",
        _rates(log_values(-5, -2, 5), log_values(-5, -2, 5), seed=2),
    ),
    Preset(
        "run",
        "One run as published",
        "reduced",
        "The representation falls into line; test accuracy follows",
        _rates([1e-3], [1e-4], steps=3_000, stop_early=False),
    ),
    Preset(
        "groks",
        "One run that groks",
        "reduced",
        "Train accuracy at step 2,020, test accuracy some 1,300 steps later",
        _rates([1e-3], [4.6e-5], steps=10_000, seed=2, stop_early=False),
    ),
    Preset(
        "fraction",
        "Training fraction by seed",
        "reduced",
        "Below a fraction of 0.4 the training set does not force a line, and none is learned",
        _grid(
            "train_fraction",
            [round(n / 55, 4) for n in (20, 25, 30, 35, 40, 45, 50, 54)],
            "seed",
            [0.0, 1.0, 2.0],
            steps=6_000,
            stop_early=False,
        ),
    ),
    Preset(
        "fig5a",
        "Figure 5a: learning rates",
        "full",
        "Four phases; published counts at gap 1,000: C 14, G 10, M 64, X 12",
        _rates(_WIDE, _WIDE, steps=10_000),
    ),
    Preset(
        "fig5b",
        "Figure 5b: decoder weight decay, MSE",
        "full",
        "Weight decay makes room for comprehension",
        _decays([float(n) for n in range(11)], steps=100_000),
    ),
    Preset(
        "fig5c",
        "Figure 5c: decoder weight decay, cross-entropy",
        "full",
        "The same with 19 classes",
        _decays([float(n) for n in range(0, 21, 2)], loss="ce", steps=100_000),
    ),
    Preset(
        "fig5d",
        "Figure 5d: permutations of S3",
        "full",
        "Products of matrices in place of sums",
        _decays(
            [0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0],
            task="s3",
            train_fraction=24 / 36,
            steps=10_000,
        ),
    ),
)
