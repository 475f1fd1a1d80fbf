"""From the overview to a coloured document and back, by keyboard."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PAGES, Visit

pytestmark = pytest.mark.browser


def test_every_page_is_reached_by_keyboard_with_its_plots_drawn(visit: Visit) -> None:
    page = visit.page
    visit.open("/")
    assert visit.wait_for_plots() == 2

    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url(re.compile(r"/clusterings/\d+$"))
    assert visit.wait_for_plots() == 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/clusters/\d+$"))
    assert visit.wait_for_plots() >= 4
    first = visit.path()

    page.keyboard.press("j")
    page.wait_for_url(lambda url: "/clusters/" in url and not url.endswith(first))
    page.keyboard.press("k")
    page.wait_for_url(lambda url: url.endswith(first))

    expect(page.locator(".context .t[tabindex='0']").first).to_be_attached()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/predictions/.+/\d+$"))
    assert visit.wait_for_plots() >= 1

    page.locator(".trail a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/documents/.+/\d+#t\d+$"))
    expect(page.locator(".document .t.at")).to_be_in_viewport()
    page.go_back()
    page.wait_for_url(re.compile(r"/predictions/.+/\d+$"))
    expect(page.locator("html")).to_have_class("js")  # keys are heard from now on
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url(re.compile(r"/$"))


@pytest.mark.parametrize("axis", ["N", "S"])
def test_scaling_is_drawn_along_both_axes(visit: Visit, axis: str) -> None:
    visit.open(f"/scaling?axis={axis}")
    assert visit.wait_for_plots() >= 2


def test_pages_without_plots_load(visit: Visit) -> None:
    for path in ("/glossary", "/api", "/documents"):
        visit.open(path)
        expect(visit.page.locator("h1")).to_be_visible()


def test_links_of_the_pages_lead_somewhere(visit: Visit) -> None:
    seen: set[str] = set()
    for path in PAGES:
        visit.open(path)
        links = visit.page.locator("a[href^='/']").evaluate_all(
            "links => links.map((link) => link.pathname + link.search)"
        )
        seen.update(links[:60])
    for path in sorted(seen):
        response = visit.page.request.get(visit.base + path)
        assert response.ok, f"{path}: {response.status}"
