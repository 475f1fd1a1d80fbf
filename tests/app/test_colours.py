"""Colours of curve classes: one of each for all pages, and each stands out in both themes."""

import re

import pytest

from app.figures.heat import Colour, contrast
from app.figures.losses import CLASSES
from app.web.paths import static_dir

PAIR = re.compile(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")


def _colours(sheet: str) -> dict[str, tuple[Colour, Colour]]:
    def parts(text: str) -> Colour:
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)

    result = PAIR.findall((static_dir() / sheet).read_text())
    return {name: (parts(light), parts(dark)) for name, light, dark in result}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_stands_out_wherever_it_is_drawn(name: str) -> None:
    colours = _colours("app.css")
    for ground in ("page", "panel", "sunk"):
        for mark, behind in zip(colours[f"c-{name}"], colours[ground], strict=True):
            assert contrast(mark, behind) >= 3, f"{name} on {ground}"


def test_a_class_has_one_colour() -> None:
    for sheet in static_dir().glob("*.css"):
        if sheet.name != "app.css":
            assert "--c-" not in sheet.read_text().replace("var(--c-", ""), sheet.name
    used = {colour for name, colour in _colours("app.css").items() if name.startswith("c-")}
    assert len(used) == len(CLASSES)
