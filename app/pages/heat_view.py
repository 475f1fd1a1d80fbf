"""Models, measures, targets and histogram of the page of a coloured document."""

import json
from collections import Counter
from dataclasses import dataclass, replace

from backend.corpora.heat_scales import N_BINS, Scale, scale_of
from backend.corpora.views import DocumentView, Heat, HeatChoices, HeatModel
from backend.read.targets import with_placeholders
from backend.read.views import TokenValue

N_COMMON = 8
NEWLINE = "⏎"
NAMES = {
    "loss": "loss",
    "p": "p(actual token)",
    "p_token": "p(chosen token)",
    "rank": "rank of the actual token",
    "entropy": "entropy of the prediction",
    "difference": "difference of losses",
}
SCALE_NOTES = {
    "shared": "same scale for every model, step and document",
    "fitted": "scale fitted to these values alone",
    "own": "your scale",
}
OF_LOSSES = ("loss", "p", "difference")


@dataclass(frozen=True)
class Target:
    """A token to choose: how to type it, and its count in the document."""

    text: str
    count: int


@dataclass(frozen=True)
class Bar:
    """One bar of the value histogram, in a box of width N_BINS and height 100."""

    x: int
    height: float
    count: int
    low: float
    high: float


def common_targets(view: DocumentView) -> list[Target]:
    """Return the line break, then the most common tokens of the document."""
    counts = Counter(item.token.text for item in view.tokens if item.prediction is not None)
    newlines = counts.pop("\n", 0)
    common = [(t, n) for t, n in counts.most_common(3 * N_COMMON) if "\ufffd" not in t and t]
    # Signs are parsed as the characters that they replace.
    named = [(with_placeholders(t), n) for t, n in common if not set(t) & {"⏎", "⇥", "␠"}]
    return [Target(NEWLINE, newlines), *(Target(t, n) for t, n in named[:N_COMMON])]


def measures(choice: HeatChoices | None, current: str) -> dict[str, str]:
    """Return the names of the measures of a suite, and of the current one."""
    if choice is None or choice.has_weights:
        return NAMES
    return {name: words for name, words in NAMES.items() if name in {*OF_LOSSES, current}}


def edges(scale: Scale) -> list[float]:
    """Return the edges of the histogram's bins."""
    low, high = scale.bounds
    if scale.is_log:
        return [low * (high / low) ** (i / N_BINS) for i in range(N_BINS + 1)]
    return [low + (high - low) * i / N_BINS for i in range(N_BINS + 1)]


def bars(frame: Heat) -> list[Bar]:
    """Return the bars of the histogram; heights are square roots, to make small counts visible."""
    ends = edges(scale_of(frame.measure, is_log=frame.is_log))
    largest = max(frame.histogram) or 1
    return [
        Bar(i, round(100 * (count / largest) ** 0.5, 1), count, ends[i], ends[i + 1])
        for i, count in enumerate(frame.histogram)
    ]


def choice_of_suite(choices: list[HeatChoices], frame: Heat | None) -> HeatChoices | None:
    """Return the choices of the frame's suite."""
    suite = frame.suite if frame else None
    return next((choice for choice in choices if choice.suite == suite), None)


def with_values(view: DocumentView, frame: Heat | None) -> list[TokenValue]:
    """Return the document's tokens with the frame's values."""
    values = frame.values if frame else (None,) * len(view.tokens)
    return [replace(item, value=value) for item, value in zip(view.tokens, values, strict=True)]


def by_size(choice: HeatChoices | None) -> list[HeatModel]:
    """Return the models of a suite, smallest first."""
    models = choice.models if choice else ()
    return sorted(models, key=lambda model: model.nonembedding_parameters)


def models_json(choice: HeatChoices | None) -> str:
    """Return the evaluated steps of every model, for the sliders."""
    return json.dumps({model.name: model.steps for model in by_size(choice)})
