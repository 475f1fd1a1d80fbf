"""The map of phases in a real browser: cells, keys, a rectangle, a run that goes on."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser


def test_a_click_shows_a_cell_without_reload(visit: Visit) -> None:
    visit.open("/grokking")
    page = visit.page
    expect(page.locator("[data-map]")).to_have_attribute("data-state", "ready")
    page.evaluate("window.isSame = true")
    last = page.locator("[data-map] a[data-cell]").last
    last.click()
    expect(page).to_have_url(re.compile("cell=1$"))
    expect(page.locator("[data-map] a[aria-current]")).to_have_attribute(
        "href", re.compile("cell=1$")
    )
    assert page.evaluate("window.isSame")
    assert visit.wait_for_plots() >= 6
    page.go_back()
    expect(page).to_have_url(re.compile("/grokking$"))
    visit.check()


def test_arrow_keys_move_and_shift_selects_a_rectangle(visit: Visit) -> None:
    visit.open("/grokking")
    page = visit.page
    expect(page.locator("[data-map]")).to_have_attribute("data-state", "ready")
    assert page.locator('[data-map] a[tabindex="0"]').count() == 1
    first = page.locator("[data-map] a[data-cell]").first
    first.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".map .picked")).to_have_count(4)
    expect(page.locator("[name=x_low]")).to_have_value("0.001")
    expect(page.locator("[name=y_high]")).to_have_value("0.003")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("cell=1$"))
    visit.check()


def test_the_mouse_selects_a_rectangle(visit: Visit) -> None:
    visit.open("/grokking")
    page = visit.page
    expect(page.locator("[data-map]")).to_have_attribute("data-state", "ready")
    boxes = [page.locator("[data-map] a[data-cell]").nth(i).bounding_box() for i in (0, 1)]
    (left, right) = [box for box in boxes if box]
    page.mouse.move(left["x"] + 9, left["y"] + 9)
    page.mouse.down()
    page.mouse.move(right["x"] + 9, right["y"] + 9, steps=4)
    page.mouse.up()
    expect(page.locator(".map .picked")).to_have_count(2)
    below = page.locator("[data-map] a[data-cell]").nth(2).bounding_box()
    assert below is not None
    page.mouse.move(below["x"] + 9, below["y"] + 9, steps=4)
    expect(page.locator(".map .picked")).to_have_count(2)
    expect(page).to_have_url(re.compile("/grokking$"))
    visit.check()


def test_a_new_run_is_followed_to_its_end(visit: Visit) -> None:
    visit.open("/grokking")
    page = visit.page
    page.locator("[name=x_count]").fill("3")
    page.locator("[name=y_count]").fill("2")
    page.get_by_role("button", name="Run this rectangle").click()
    page.wait_for_url(re.compile("run="))
    expect(page.locator(".map a.ph")).to_have_count(6, timeout=60_000)
    expect(page.locator("[data-open]")).to_have_count(0, timeout=60_000)
    visit.wait_for_plots()
    visit.check()
