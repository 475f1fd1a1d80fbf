"""The sliders of the theory simulator."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser


def open_theory(visit: Visit, query: str = "") -> None:
    visit.open(f"/theory{query}")
    expect(visit.page.locator("[data-theory][data-state=ready]")).to_be_attached()
    assert visit.wait_for_plots() == 6


def stairs(page: Page) -> str:
    """The path of the coloured line of L(N)."""
    lines = page.locator("#law-n .scatterlayer .js-line")
    return str(lines.evaluate_all("all => all.map((line) => line.getAttribute('d')).join()"))


def test_a_slider_moves_plots_table_address_and_api_call(visit: Visit) -> None:
    page = visit.page
    open_theory(visit)
    before, table = stairs(page), page.locator("[data-part=exponents]").inner_text()
    entries = page.evaluate("history.length")
    slider = page.locator("[data-slide=alpha]")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    alpha = page.locator("#control-alpha").input_value()
    assert float(alpha) > 0.4
    assert slider.get_attribute("aria-valuetext") == alpha
    expect(page).to_have_url(re.compile(rf"/theory\?alpha={re.escape(alpha)}$"))
    expect(page.locator("[data-part=exponents]")).not_to_have_text(table)
    expect(page.locator("[data-part=exponents] td").first).to_have_text(f"{float(alpha):.3f}")
    expect(page.locator(".api-call")).to_have_attribute("data-api", re.compile(f"alpha={alpha}"))
    assert stairs(page) != before
    assert page.evaluate("history.length") == entries
    path_before = stairs(page)
    page.reload()
    assert visit.wait_for_plots() == 6
    assert page.locator("#control-alpha").input_value() == alpha
    assert stairs(page) == path_before
    page.locator("#control-alpha").fill("0.4")
    expect(page).to_have_url(re.compile(r"/theory$"))  # defaults are left out
    expect(page.locator("[data-part=exponents] td").first).to_have_text("0.400")


def test_learned_quanta_are_limited_to_the_sum(visit: Visit) -> None:
    page = visit.page
    open_theory(visit, "?n=80")
    page.locator("#law-n [data-plot=table]").click()
    page.locator("#control-m").fill("30")
    expect(page.locator("#control-n")).to_have_value("30")
    expect(page).to_have_url(re.compile("n=30"))
    expect(page.locator("[data-part=caption-frequencies]")).to_contain_text("The 30 most frequent")
    expect(page.locator("#law-n .plot-table")).to_contain_text("sum over 30 quanta")
    assert "30 most frequent" in str(
        page.locator("#frequencies .plot-target").get_attribute("aria-label")
    )


def test_an_invalid_value_keeps_the_plots(visit: Visit) -> None:
    page = visit.page
    open_theory(visit)
    before = stairs(page)
    page.locator("#control-a").fill("7")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("a = 7 is not less than b = 5")
    assert stairs(page) == before
    page.locator("#control-b").fill("9")
    expect(strip).to_have_count(0)
    expect(page).to_have_url(re.compile("a=7&b=9"))
    visit.faults[:] = [fault for fault in visit.faults if "422" not in fault]


def test_a_keyboard_shortcut_opens_experiments(visit: Visit) -> None:
    visit.open("/glossary")
    expect(visit.page.locator("html")).to_have_class("js")
    visit.page.keyboard.press("g")
    visit.page.keyboard.press("e")
    visit.page.wait_for_url(re.compile("/grokking$"))
    expect(visit.page.locator("header nav [aria-current=page]")).to_have_text("Experiments")
