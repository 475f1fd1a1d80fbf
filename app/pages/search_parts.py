"""Parts of the search page: classes with their shapes, presets, and the filters in force."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.figures.curves import preset_icon
from app.pages.addresses import SHAPE, Items, address

PATH = "/predictions"
INVARIANCES = (
    ("level", "any level", "Curves that differ by a constant count as equal"),
    ("scale", "any scale", "Curves that differ by a factor count as equal"),
    ("shift", "any shift", "Curves that differ by a move along the axis count as equal"),
)
LARGEST = 2
OF_STEPS = (
    *("axis", "model", "sketch", "at", "lasso", "lasso_of"),
    *("emergence_min", "emergence_max", "zoom"),
)


@dataclass(frozen=True)
class LegendEntry:
    """A class of curves; `shape` is an SVG path around (0, 0), the second cue beside colour."""

    name: str
    shape: str
    meaning: str
    href: str = ""


# In the order of the class codes, the same for every reader.
CLASS_LEGEND = (
    LegendEntry("learned", "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z", "below 0.3 nats everywhere"),
    LegendEntry(
        "flat-high", "M-5.5-2H5.5V2H-5.5Z", "above 3 nats everywhere, moves by less than 1 nat"
    ),
    LegendEntry(
        "monogenic",
        "M-4.5-4.5H4.5V4.5H-4.5Z",
        "falls by 2 nats or more, at least 70 % of it in half a decade",
    ),
    LegendEntry("polygenic", "M-5.2-4.4H5.2L0 5Z", "falls by 1 nat or more, gradually"),
    LegendEntry("inverse", "M-5.2 4.4H5.2L0-5Z", "rises by 1 nat or more from first to last point"),
    LegendEntry("u-shaped", "M0-5.8L5.8 0L0 5.8L-5.8 0Z", "an inner point 1 nat below both ends"),
    LegendEntry(
        "hump",
        "M-1.8-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
        "an inner point 1 nat above both ends",
    ),
    LegendEntry(
        "irregular",
        "M-3.4-5.4L0-2L3.4-5.4L5.4-3.4L2 0L5.4 3.4L3.4 5.4L0 2L-3.4 5.4L-5.4 3.4L-2 0L-5.4-3.4Z",
        "none of the other classes",
    ),
)
LEGEND_BY_CLASS = {entry.name: entry for entry in CLASS_LEGEND}


@dataclass(frozen=True)
class Preset:
    """A link that asks for a shape or sets a filter."""

    text: str
    href: str
    icon: str
    hint: str
    is_current: bool
    is_filter: bool = False


@dataclass(frozen=True)
class Chip:
    """A part of the question; `href` asks without it, that is without these fields."""

    text: str
    href: str
    fields: tuple[str, ...] = ()


_ICONS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "step": ("Step", "falls at one point of the axis", (0.9, 0.9, 0.9, 0.1, 0.1, 0.1)),
    "smooth": ("Smooth", "falls evenly over the whole axis", (1, 0.7, 0.45, 0.25, 0.1)),
    "inverse": ("Inverse", "rises with the axis", (0.1, 0.25, 0.45, 0.7, 1)),
    "u": ("U", "falls, then rises again", (0.9, 0.4, 0.1, 0.4, 0.9)),
    "hump": ("Hump", "rises, then falls again", (0.1, 0.6, 0.9, 0.6, 0.1)),
    "late": ("Late", "falls at the end of the axis", (0.9, 0.9, 0.9, 0.85, 0.1)),
    "early": ("Early", "falls at the beginning of the axis", (0.9, 0.15, 0.1, 0.1, 0.1)),
    "flat": ("Flat", "the same everywhere", (0.5, 0.5)),
}
_LARGEST_ICON = (0.9, 0.9, 0.9, 0.15, 0.15)


def presets(items: Items, n_points: int) -> list[Preset]:
    """Return the presets as links that keep every filter.

    Args:
        items: the parameters asked for.
        n_points: points of the axis; a step is offered at its middle.
    """
    asked = dict(items)
    largest = Preset(
        f"Only the {LARGEST} largest get right",
        # It compares models: what belongs to the steps of one of them is left behind.
        address(PATH, items, OF_STEPS if asked.get("axis") == "S" else (), only_largest=LARGEST),
        preset_icon(_LARGEST_ICON),
        f"the {LARGEST} largest models give the answer more than half, every smaller one less",
        asked.get("only_largest") == str(LARGEST),
        is_filter=True,
    )
    shapes = []
    for name, (text, hint, icon) in _ICONS.items():
        at = {"at": n_points // 2 + 1} if name == "step" else {}
        href = address(PATH, items, (*SHAPE, "sort", "order"), preset=name, **at)
        is_current = asked.get("preset") == name
        shapes.append(Preset(text, href, preset_icon(icon), hint, is_current))
    return [largest, *shapes]


_WORDS = {
    "text": "text “{}”",
    "regex": "text /{}/",
    "token": "answer “{}”",
    "token_pattern": "answer /{}/",
    "source": "source {}",
    "document": "document {}",
    "cls": "class {}",
    "drop_min": "drop ≥ {} nats",
    "drop_max": "drop ≤ {} nats",
    "sharpness_min": "sharpness ≥ {}",
    "sharpness_max": "sharpness ≤ {}",
    "emergence_min": "emergence ≥ {}",
    "emergence_max": "emergence ≤ {}",
    "final_min": "final loss ≥ {} nats",
    "final_max": "final loss ≤ {} nats",
    "published": "published {}",
    "only_largest": "only the {} largest get right",
    "cluster": "cluster {}",
    "lasso": "inside the lasso",
}
# What says nothing without the filter it belongs to.
_WITH = {"only_largest": ("right",), "lasso": ("lasso_of",)}
_SHAPES = {"sketch": "drawn curve", "preset": "shape {}", "like": "like prediction {}"}


def filter_chips(items: Items) -> list[Chip]:
    """Return one chip a filter; a class chip takes away that class alone."""
    chips = []
    for name, value in items:
        if name not in _WORDS:
            continue
        fields = (name, *_WITH.get(name, ()))
        drop = ((name, value),) if name == "cls" else fields
        chips.append(Chip(_WORDS[name].format(value), address(PATH, items, drop), fields))
    return chips


def shape_chips(items: Items, labels: Sequence[str]) -> list[Chip]:
    """Return the chips of the asked curve and of what its distance ignores.

    Args:
        items: the parameters asked for.
        labels: names of the points of the axis.
    """
    asked = dict(items)
    chips = []
    for name, words in _SHAPES.items():
        if name in asked:
            text = words.format(asked[name])
            at = asked.get("at", "")
            if asked[name] == "step" and at.isdigit() and 1 <= int(at) <= len(labels):
                text += f" at {labels[int(at) - 1]}"
            chips.append(Chip(text, address(PATH, items, (*SHAPE, "inv"))))
    return chips


def class_legend(items: Items) -> list[LegendEntry]:
    """Return the classes, each with the address that asks for it alone."""
    return [
        LegendEntry(entry.name, entry.shape, entry.meaning, address(PATH, items, cls=entry.name))
        for entry in CLASS_LEGEND
    ]
