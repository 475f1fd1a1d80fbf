"""What tests of the search page do over and over."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit


def indices_of(visit: Visit) -> list[int]:
    result = visit.page.locator(".match").evaluate_all(
        "rows => rows.map((row) => +row.dataset.index)"
    )
    return [int(index) for index in result]


def knots_of(visit: Visit) -> list[tuple[float, float]]:
    """Return the knots that the address carries."""
    sketch = parse_qs(urlsplit(visit.page.url).query).get("sketch", [""])[0]
    pairs = [part.split(":") for part in sketch.split(",") if part]
    return [(float(x), float(y)) for x, y in pairs]


def spot_on(pad: Locator, across: float, down: float) -> tuple[float, float]:
    box = pad.bounding_box()
    assert box is not None
    return box["x"] + box["width"] * across, box["y"] + box["height"] * down


def open_search(visit: Visit, path: str) -> None:
    """Open a search and wait until the page listens."""
    visit.open(path)
    expect(visit.page.locator("[data-search][data-state=ready]")).to_be_attached()


def settled(visit: Visit) -> None:
    """Wait until the list follows the drawing."""
    expect(visit.page.locator(".chips")).to_contain_text("drawn curve")
    expect(visit.page.locator("#results[aria-busy]")).to_have_count(0)


def answer_of(visit: Visit, path: str) -> Any:
    response = visit.page.request.get(visit.base + path)
    assert response.ok, response.text()
    return response.json()


def wait_for_map(visit: Visit) -> Locator:
    box = visit.page.locator("[data-map]")
    box.scroll_into_view_if_needed()
    expect(box).to_have_attribute("data-state", "drawn", timeout=20_000)
    return box.locator("canvas")
