"""Token search: the map, the list, and what fails."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit
from tests.browser.searching import (
    answer_of,
    indices_of,
    open_search,
    settled,
    spot_on,
    wait_for_map,
)
from tests.browser.test_axe import faults

pytestmark = pytest.mark.browser


def test_a_lasso_filters_the_list(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=polygenic")
    before = page.locator(".count b").inner_text()
    canvas = wait_for_map(visit)
    corners = ((0.1, 0.1), (0.6, 0.1), (0.6, 0.9), (0.1, 0.9), (0.1, 0.15))
    page.mouse.move(*spot_on(canvas, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*spot_on(canvas, *corner), steps=6)
    with page.expect_navigation():
        page.mouse.up()
    assert "lasso=" in page.url
    assert "lasso_of=" in page.url
    assert "cls=polygenic" in page.url
    after = page.locator(".count b").inner_text()
    assert 0 < int(re.sub(r"\D", "", after)) < int(re.sub(r"\D", "", before))
    query = urlsplit(page.url).query
    answer = answer_of(visit, f"/api/v1/predictions?{query}&limit=50")
    assert [match["index"] for match in answer["matches"]] == indices_of(visit)
    page.go_back()
    expect(page.locator(".count b")).to_have_text(before)


def test_the_map_is_walked_by_keyboard(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=monogenic")
    wait_for_map(visit)
    page.keyboard.press("u")
    expect(page.locator("canvas")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-tip")).to_contain_text("monogenic")
    expect(page.locator(".map-tip polyline")).to_be_attached()
    expect(page.locator("#said")).to_contain_text("prediction")
    page.keyboard.press("+")
    assert "zoom=" in page.url
    page.keyboard.press("0")
    assert "zoom=" not in page.url
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert re.match(r"/predictions/.+/\d+$", visit.path())


def test_the_map_has_a_table(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=learned")
    wait_for_map(visit)
    page.locator("[data-action=map-table]").click()
    counts = page.locator(".map-table tbody tr").evaluate_all(
        "rows => rows.map((r) => [...r.querySelectorAll('td')].map((c) => +c.textContent))"
    )
    assert counts[0][0] == counts[0][1] > 0
    assert all(matching == 0 for matching, _ in counts[1:])


def test_rows_are_walked_and_opened_by_keyboard(visit: Visit) -> None:
    page = visit.page
    visit.open("/")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url(re.compile("/predictions$"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("[data-row]").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/predictions/.+/\d+$"))
    with page.expect_navigation():
        page.get_by_role("link", name=re.compile("Find curves like this")).first.click()
    assert "like=" in page.url
    own = parse_qs(urlsplit(page.url).query)["like"][0]
    assert indices_of(visit)[0] == int(own)


def test_files_of_the_list_are_reached_by_key(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=monogenic")
    page.keyboard.press("e")
    expect(page.get_by_role("link", name="Parquet")).to_be_focused()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "predictions.parquet"
    assert download.value.path().read_bytes()[:4] == b"PAR1"


def test_a_bad_regex_is_named_at_its_field_with_a_way_out(visit: Visit) -> None:
    page = visit.page
    response = page.goto(visit.base + "/predictions?regex=foo(&cls=learned")
    assert response is not None
    assert response.status == 422
    expect(page.locator("[name=regex]")).to_have_attribute("aria-invalid", "true")
    with page.expect_navigation():
        page.locator("#error-regex a").click()
    assert parse_qs(urlsplit(page.url).query) == {"text": ["foo("], "cls": ["learned"]}
    visit.faults[:] = [fault for fault in visit.faults if "422" not in fault]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_search_page_has_no_serious_fault(visit: Visit, theme: str) -> None:
    open_search(visit, f"/predictions?preset=late&cls=monogenic&theme={theme}")
    wait_for_map(visit)
    visit.page.locator(".numbers summary").click()
    visit.page.locator("[data-action=map-table]").click()
    assert faults(visit) == []


@pytest.mark.parametrize("width", [320, 390])
def test_narrow_windows_do_not_scroll_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    open_search(visit, "/predictions?preset=step&at=2")
    wait_for_map(visit)
    overflow = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0


def test_targets_are_large_enough(visit: Visit) -> None:
    open_search(visit, "/predictions?preset=late&cls=monogenic")
    small = visit.page.locator("main a, main button, main input, main select, main summary")
    boxes = small.evaluate_all(
        "all => all.filter((e) => e.offsetParent).map((e) => [e.outerHTML.slice(0, 90), "
        "(e.closest('label') ?? e).getBoundingClientRect().height])"
    )
    assert [name for name, height in boxes if height < 24] == []


def test_search_works_without_javascript(browser: Browser, server_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server_url + "/predictions")
    page.locator("[name=token_pattern]").fill("e$")
    page.locator(".numbers summary").click()
    axis = json.loads(page.locator(".pad").get_attribute("data-axis") or "")["x"]
    page.locator("[name=sketch]").fill(f"{axis[0]}:9,{axis[-1]}:0.5")
    page.locator("button.primary").click()
    assert page.locator(".match").count() > 0
    assert page.locator(".pad-curve").get_attribute("points")
    page.locator(".presets").get_by_role("link", name="Inverse").click()
    assert page.locator(".match-query").count() > 0
    context.close()


def test_corpus_text_is_text_in_results_and_on_the_map(hostile: Visit) -> None:
    page = hostile.page
    open_search(hostile, "/predictions?text=<script>")
    wait_for_map(hostile)
    assert page.locator(".match").count() > 0
    assert page.locator("main script, main img, [onerror]").count() == 0
    page.keyboard.press("u")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-tip polyline")).to_be_attached()
    assert page.locator("main script, main img, [onerror]").count() == 0


def test_a_list_that_fails_keeps_the_old_one_and_is_tried_again(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=learned")
    before = indices_of(visit)
    page.route("**/predictions?*sketch*", lambda route: route.abort())
    page.keyboard.press("s")
    page.keyboard.press("+")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("The server cannot be reached")
    assert indices_of(visit) == before
    expect(page.locator("#results")).to_have_attribute("data-stale", "")
    page.unroute("**/predictions?*sketch*")
    strip.get_by_role("button", name="Retry").click()
    settled(visit)
    expect(strip).to_have_count(0)
    assert indices_of(visit) != before
    visit.faults[:] = [fault for fault in visit.faults if "ERR_FAILED" not in fault]


def test_a_map_that_fails_says_why_and_is_tried_again(visit: Visit) -> None:
    page = visit.page
    busy = {"detail": "the store is busy", "request_id": "r-77"}
    page.route(
        "**/figures/curve-map*",
        lambda route: route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps(busy)
        ),
    )
    open_search(visit, "/predictions")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("the store is busy. There is no map. Request id r-77")
    page.unroute("**/figures/curve-map*")
    strip.get_by_role("button", name="Retry").click()
    wait_for_map(visit)
    expect(strip).to_have_count(0)
    visit.faults[:] = [fault for fault in visit.faults if "503" not in fault]
