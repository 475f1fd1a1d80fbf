"""p(chosen token) and pasted text in a browser."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visit
from tests.browser.test_views import first_document

pytestmark = [pytest.mark.browser, pytest.mark.slow]

JOB_MS = 240_000


def test_a_chosen_token_is_computed_and_shown_in_place(visit: Visit) -> None:
    page = visit.page
    document = first_document(visit)
    visit.open(document)
    page.select_option("select[name=measure]", "p_token")
    expect(page).to_have_url(re.compile("measure=p_token"))
    expect(page.locator("[data-heat]")).to_have_attribute("data-state", "ready")
    expect(page.locator("[data-pending]")).to_be_visible()
    page.get_by_role("button", name="Compute for every size").click()
    expect(page.locator("[data-pending]")).to_be_hidden(timeout=JOB_MS)
    expect(page.locator("#heat-mean")).to_contain_text("probability")
    assert page.locator(".document .t[class*=' h']").count() > 20
    page.locator(".document .t").nth(5).focus()
    expect(page.locator("#heat-value")).to_contain_text("probability")
    mean = page.locator("#heat-mean").inner_text()
    page.keyboard.press("[")
    expect(page.locator("#heat-mean")).not_to_have_text(mean)
    expect(page.locator("[data-pending]")).to_be_hidden()
    page.reload()
    expect(page.locator("[data-pending]")).to_be_hidden()


def test_pasted_text_is_evaluated_and_shown_with_every_measure(visit: Visit) -> None:
    page = visit.page
    visit.open("/documents")
    page.locator(".paste summary").click()
    page.fill("#text", "The driver returns <img src=x onerror=alert(1)> when\nthe device is gone.")
    page.get_by_role("button", name="Evaluate under every size").click()
    page.wait_for_url(re.compile(r"/documents/paste-[0-9a-f]+/0"), timeout=JOB_MS)
    expect(page.locator(".document")).to_contain_text("<img src=x onerror=alert(1)>")
    for measure in ("rank", "entropy", "difference"):
        page.select_option("select[name=measure]", measure)
        expect(page).to_have_url(re.compile(f"measure={measure}"))
        expect(page.locator("[data-heat]")).to_have_attribute("data-state", "ready")
        expect(page.locator("[data-pending]")).to_be_hidden()
    assert page.locator(".document .t[class*=' d']").count() > 8


def test_the_brush_sets_the_scale_and_the_measure_remembers_it(visit: Visit) -> None:
    page = visit.page
    visit.open(first_document(visit))
    page.locator(".scale > summary").click()
    page.locator("[data-end=hi]").focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile("hi=8"))
    expect(page.locator("[data-scale-end='1']")).to_have_text("8")
    page.keyboard.press("Home")  # ends never cross
    expect(page).to_have_url(re.compile("hi=0.25"))
    page.fill("#hi", "6")
    page.locator("#hi").blur()
    expect(page.locator("[data-scale-end='1']")).to_have_text("6")
    page.select_option("select[name=measure]", "entropy")
    expect(page).to_have_url(re.compile("measure=entropy"))
    expect(page.locator("#hi")).to_have_value("")
    page.select_option("select[name=measure]", "loss")
    expect(page.locator("#hi")).to_have_value("6")
    expect(page.locator("[data-scale-end='1']")).to_have_text("6")


def test_a_choice_before_the_scripts_are_loaded_is_applied(visit: Visit) -> None:
    page = visit.page
    held: list[Route] = []
    page.route("**/heat.js*", lambda route: route.continue_() if held else held.append(route))
    document = first_document(visit)
    with page.expect_request("**/heat.js*"):
        page.goto(visit.base + document, wait_until="commit")
    page.select_option("select[name=measure]", "entropy")
    page.wait_for_timeout(300)
    assert "entropy" not in page.url
    assert held
    held[0].continue_()
    expect(page).to_have_url(re.compile("measure=entropy"))
    expect(page.locator("[data-heat]")).to_have_attribute("data-state", "ready")
    assert page.locator("select[name=measure]").input_value() == "entropy"
