"""Named runs of multitask sparse parity: reduced ones, and those of arXiv:2303.13506."""

from typing import Any

from backend.experiments.kind import Preset


def doubling(low: int, high: int, count: int) -> list[int]:
    """Return whole numbers from low to high, evenly in the logarithm; each counts once."""
    ratio = high / low
    return sorted({int(low * ratio ** (i / (count - 1)) + 1e-6) for i in range(count)})


def _published(**own: Any) -> dict[str, Any]:
    return {
        "tasks": 500,
        "bits": 100,
        "subset": 3,
        "learning_rate": 1e-3,
        "batch_size": 20_000,
        "test_points": 1_000,
        **own,
    }


_ALPHAS_TENTHS = [round(0.1 * n, 1) for n in range(1, 9)]
_ALPHAS_FINE = [round(0.05 * n, 2) for n in range(2, 17)]
PRESETS = (
    Preset(
        "steps",
        "One network over its steps",
        "reduced",
        "Each subtask falls at its own step, the frequent ones first; their mean falls smoothly",
        {"widths": [150], "steps": 12_000},
    ),
    Preset(
        "widths",
        "Five widths",
        "reduced",
        "A wider network has room for more subtasks: loss against width follows the finite sum",
        {"widths": [4, 8, 16, 32, 64], "steps": 8_000},
    ),
    Preset(
        "data",
        "Five sample sizes",
        "reduced",
        "A subtask is learned once its sample is large enough; networks stop when their loss rises",
        {"samples": [1_000, 10_000, 20_000, 50_000, 100_000], "steps": 12_000},
    ),
    Preset(
        "alphas",
        "Four alphas",
        "reduced",
        "The steeper the frequencies fall, the steeper the loss",
        {"alphas": [0.1, 0.3, 0.5, 0.8], "steps": 12_000},
    ),
    Preset(
        "p15",
        "P-15: loss over width",
        "full",
        "30 widths, fresh data: exponent over parameters against alpha",
        _published(alphas=[0.4], widths=doubling(10, 500, 30), steps=200_000),
    ),
    Preset(
        "p17",
        "P-17: width and steps by alpha",
        "full",
        "20 widths, 8 alphas, 3 seeds: exponents over parameters and steps against alpha",
        _published(
            alphas=_ALPHAS_TENTHS, widths=doubling(10, 300, 20), seeds=[0, 1, 2], steps=100_000
        ),
    ),
    Preset(
        "d6",
        "D-6: loss over data",
        "full",
        "30 sample sizes, many epochs, no early stop",
        _published(
            alphas=[0.4],
            widths=[500],
            samples=doubling(10_000, 5_000_000, 30),
            steps=1_000_000,
            patience=0,
        ),
    ),
    Preset(
        "d9",
        "D-9: data by alpha",
        "full",
        "25 sample sizes, 15 alphas: exponent over data against alpha",
        _published(
            alphas=_ALPHAS_FINE,
            widths=[500],
            samples=doubling(10_000, 5_000_000, 25),
            steps=100_000,
            patience=0,
        ),
    ),
    Preset(
        "d11",
        "D-11: data by alpha, early stop",
        "full",
        "As published with subsets of 2 to 5 bits, here of 3: set k for the others",
        _published(
            tasks=300,
            alphas=_ALPHAS_FINE,
            widths=[1_000],
            samples=doubling(1_000, 10_000_000, 25),
            steps=500_000,
        ),
    ),
)
