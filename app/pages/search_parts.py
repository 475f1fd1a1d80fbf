"""Parts of the search page: the legend of curve classes, presets, and chips of active filters."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.figures.curves import preset_icon
from app.pages.addresses import SHAPE, Params, address

PATH = "/predictions"
API = "/api/v1/predictions"
SCORES = ("drop", "sharpness", "emergence", "final")
SORTS = ("distance", "index", *SCORES)
INVARIANCES = (
    ("level", "any level", "Curves that differ by a constant count as equal"),
    ("scale", "any scale", "Curves that differ by a factor count as equal"),
    ("shift", "any shift", "Curves that differ by a move along the axis count as equal"),
)
LARGEST = 2
# Fields that mean nothing on the axis of model sizes.
STEP_FIELDS = (
    *("axis", "model", "sketch", "at", "lasso", "lasso_of"),
    *("emergence_min", "emergence_max", "zoom"),
)


@dataclass(frozen=True)
class LegendEntry:
    """A curve class; `shape` is an SVG path around (0, 0), a second cue beside colour."""

    name: str
    shape: str
    meaning: str
    href: str = ""


# In the order of the class codes.
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
    """A link that searches for a shape or sets a filter."""

    text: str
    href: str
    icon: str
    hint: str
    is_current: bool
    is_filter: bool = False


@dataclass(frozen=True)
class Chip:
    """A part of the query; `href` is the same search without it, that is without `fields`."""

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


def presets(params: Params, n_points: int) -> list[Preset]:
    """Return the presets as links that keep all filters.

    Args:
        params: query parameters of the page.
        n_points: points of the axis; a step is offered at its middle.
    """
    query = dict(params)
    largest = Preset(
        f"Only the {LARGEST} largest get right",
        # The filter compares models, so fields of one model's steps are dropped.
        address(
            PATH, params, STEP_FIELDS if query.get("axis") == "S" else (), only_largest=LARGEST
        ),
        preset_icon(_LARGEST_ICON),
        f"the {LARGEST} largest models give the answer more than half, every smaller one less",
        query.get("only_largest") == str(LARGEST),
        is_filter=True,
    )
    shapes = []
    for name, (text, hint, icon) in _ICONS.items():
        at = {"at": n_points // 2 + 1} if name == "step" else {}
        href = address(PATH, params, (*SHAPE, "sort", "order"), preset=name, **at)
        is_current = query.get("preset") == name
        shapes.append(Preset(text, href, preset_icon(icon), hint, is_current))
    return [largest, *shapes]


_FILTER_TEXTS = {
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
# Fields that mean nothing without the filter they belong to.
_DEPENDENT_FIELDS = {"only_largest": ("right",), "lasso": ("lasso_of",)}
_SHAPE_TEXTS = {"sketch": "drawn curve", "preset": "shape {}", "like": "like prediction {}"}


def filter_chips(params: Params) -> list[Chip]:
    """Return one chip per filter; the chip of a class removes only that class."""
    chips = []
    for name, value in params:
        if name not in _FILTER_TEXTS:
            continue
        fields = (name, *_DEPENDENT_FIELDS.get(name, ()))
        drop = ((name, value),) if name == "cls" else fields
        chips.append(Chip(_FILTER_TEXTS[name].format(value), address(PATH, params, drop), fields))
    return chips


def shape_chips(params: Params, labels: Sequence[str]) -> list[Chip]:
    """Return the chips of the query curve.

    Args:
        params: query parameters of the page.
        labels: names of the points of the axis.
    """
    query = dict(params)
    chips = []
    for name, template in _SHAPE_TEXTS.items():
        if name in query:
            text = template.format(query[name])
            at = query.get("at", "")
            if query[name] == "step" and at.isdigit() and 1 <= int(at) <= len(labels):
                text += f" at {labels[int(at) - 1]}"
            chips.append(Chip(text, address(PATH, params, (*SHAPE, "inv"))))
    return chips


def class_legend(params: Params) -> list[LegendEntry]:
    """Return the curve classes, each with the address that filters by it."""
    return [
        LegendEntry(entry.name, entry.shape, entry.meaning, address(PATH, params, cls=entry.name))
        for entry in CLASS_LEGEND
    ]
