"""Token search: drawing, presets, filters, the map, and what the address keeps."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.conftest import Visit, _watch
from tests.browser.test_axe import faults

pytestmark = pytest.mark.browser


def _indices(visit: Visit) -> list[int]:
    found = visit.page.locator(".hit").evaluate_all("hits => hits.map((h) => +h.dataset.index)")
    return [int(index) for index in found]


def _knots(visit: Visit) -> list[tuple[float, float]]:
    """Return the knots that the address carries."""
    sketch = parse_qs(urlsplit(visit.page.url).query).get("sketch", [""])[0]
    pairs = [part.split(":") for part in sketch.split(",") if part]
    return [(float(x), float(y)) for x, y in pairs]


def _spot(pad: Locator, across: float, down: float) -> tuple[float, float]:
    box = pad.bounding_box()
    assert box is not None
    return box["x"] + box["width"] * across, box["y"] + box["height"] * down


def _open(visit: Visit, path: str) -> None:
    """Open a search and wait until the page listens."""
    visit.open(path)
    expect(visit.page.locator("[data-search][data-state=ready]")).to_be_attached()


def _settled(visit: Visit) -> None:
    """Wait until the list follows the drawing."""
    expect(visit.page.locator(".chips")).to_contain_text("drawn curve")
    expect(visit.page.locator("#results[aria-busy]")).to_have_count(0)


def _answer(visit: Visit, path: str) -> Any:
    response = visit.page.request.get(visit.base + path)
    assert response.ok, response.text()
    return response.json()


def test_only_the_two_largest_get_right_is_two_clicks_from_the_overview(visit: Visit) -> None:
    """At most five clicks from `/` to all such tokens, and one API call with the same answer."""
    page = visit.page
    visit.open("/")
    clicks = 0
    for link in (
        page.get_by_role("link", name="Search", exact=True),
        page.locator(".presets").get_by_role("link", name="Only the 2 largest get right"),
    ):
        with page.expect_navigation():
            link.click()
        clicks += 1
    assert clicks <= 5
    shown = _indices(visit)
    more = page.locator("a[rel=next]")
    while more.count():  # further pages of the same answer
        with page.expect_navigation():
            more.click()
        shown += _indices(visit)
    answer = _answer(visit, "/api/v1/predictions?only_largest=2&limit=200")
    assert shown
    assert answer["n_matching"] == len(shown)
    assert [match["index"] for match in answer["matches"]] == shown[:200]
    largest = [match["loss_nats"][-2:] for match in answer["matches"]]
    assert all(loss < 0.6932 for pair in largest for loss in pair)


def test_a_curve_is_drawn_with_the_mouse_and_the_list_follows(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions")
    pad = page.locator(".pad")
    page.mouse.move(*_spot(pad, 0.1, 0.2))
    page.mouse.down()
    for across, down in ((0.3, 0.22), (0.5, 0.3), (0.55, 0.7), (0.9, 0.75)):
        page.mouse.move(*_spot(pad, across, down), steps=8)
    page.mouse.up()
    _settled(visit)
    knots = _knots(visit)
    assert 2 <= len(knots) <= 16
    assert knots == sorted(knots)
    assert knots[0][1] > 6
    assert knots[-1][1] < 3.5
    query = urlsplit(page.url).query
    answer = _answer(visit, f"/api/v1/predictions?{query}&limit=50")
    assert [match["index"] for match in answer["matches"]] == _indices(visit)
    distances = [match["distance"] for match in answer["matches"]]
    assert distances == sorted(distances)

    shown = _indices(visit)
    page.reload()
    expect(page.locator(".knot")).to_have_count(len(knots))
    assert _indices(visit) == shown


@pytest.mark.parametrize("question", ["", "?preset=late", "?like=7"])
def test_any_curve_can_be_searched_for_together_with_a_filter(visit: Visit, question: str) -> None:
    """Numbers of a drawn curve have any decimals, and none of them holds up the form."""
    page = visit.page
    _open(visit, "/predictions" + question)
    pad = page.locator(".pad")
    page.mouse.move(*_spot(pad, 0.13, 0.237))
    page.mouse.down()
    page.mouse.move(*_spot(pad, 0.47, 0.341), steps=8)
    page.mouse.move(*_spot(pad, 0.91, 0.743), steps=8)
    page.mouse.up()
    _settled(visit)
    page.get_by_text("Class of the curve").click()
    page.locator("[name=cls][value=polygenic]").check()
    with page.expect_navigation():
        page.locator("button.primary").click()
    query = parse_qs(urlsplit(page.url).query)
    assert query["cls"] == ["polygenic"]
    assert "sketch" in query
    assert not {"preset", "like"} & set(query)


def test_a_drawn_curve_applies_no_filter_that_was_not_searched_for(visit: Visit) -> None:
    """List, map and address ask the same, whatever is already typed into the form."""
    page = visit.page
    _open(visit, "/predictions?cls=monogenic&cls=polygenic")
    count = page.locator(".count b").inner_text()
    page.locator("[name=token]").fill(" the")
    page.locator("h1").click()
    page.keyboard.press("s")
    page.keyboard.press("+")
    _settled(visit)
    query = parse_qs(urlsplit(page.url).query)
    assert "token" not in query
    assert query["cls"] == ["monogenic", "polygenic"]
    expect(page.locator(".count b")).to_have_text(count)
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert {"token", "sketch", "cls"} <= set(parse_qs(urlsplit(page.url).query))


def test_a_search_keeps_the_zoom_of_the_map(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions")
    _wait_for_map(visit)
    page.locator("[data-zoom='1.5']").click()
    zoom = parse_qs(urlsplit(page.url).query)["zoom"]
    page.locator("[name=token]").fill(" the")
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert parse_qs(urlsplit(page.url).query)["zoom"] == zoom
    assert "zoom" not in page.locator(".api-call pre").first.inner_text()
    page.go_back()
    assert parse_qs(urlsplit(page.url).query) == {"zoom": zoom}


def test_a_knot_is_dragged(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?preset=late")
    before = page.locator(".knot").last.get_attribute("aria-valuenow")
    box = page.locator(".knot-dot").last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] - 60, steps=5)
    page.mouse.up()
    _settled(visit)
    after = page.locator(".knot").last.get_attribute("aria-valuenow")
    assert before is not None
    assert after is not None
    assert float(after) > float(before) + 1
    assert "preset" not in page.url


def test_a_curve_is_drawn_by_touch(browser: Browser, server_url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    visit = Visit(context.new_page(), server_url)
    _watch(visit)
    _open(visit, "/predictions")
    pad = visit.page.locator(".pad")
    pad.scroll_into_view_if_needed()
    scrolled = visit.page.evaluate("scrollY")
    session = context.new_cdp_session(visit.page)
    path = [_spot(pad, 0.1 + 0.08 * i, 0.15 + 0.06 * i) for i in range(11)]
    for i, (x, y) in enumerate(path):
        kind = "touchMove" if i else "touchStart"
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", touch)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    _settled(visit)
    knots = _knots(visit)
    assert knots[0][1] > knots[-1][1] + 3
    assert visit.page.evaluate("scrollY") == scrolled  # the finger drew, it did not scroll
    visit.check()
    context.close()


def test_a_curve_is_drawn_by_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions")
    keys = page.keyboard
    keys.press("s")
    expect(page.locator(".pad")).to_be_focused()
    keys.press("+")
    keys.press("+")
    expect(page.locator(".knot")).to_have_count(2)
    expect(page.locator(".knot").nth(1)).to_be_focused()
    keys.press("Shift+ArrowDown")
    keys.press("Shift+ArrowDown")
    keys.press("PageUp")
    keys.press("Shift+ArrowUp")
    keys.press("ArrowUp")
    keys.press("Insert")
    expect(page.locator(".knot")).to_have_count(3)
    keys.press("ArrowRight")
    expect(page.locator("#said")).to_contain_text("knot 2 of 3")
    assert page.locator(".pad [tabindex='0'], .pad[tabindex='0']").count() == 1
    _settled(visit)
    knots = _knots(visit)
    assert knots[0][1] == pytest.approx(6.1)
    assert knots[-1][1] == pytest.approx(3)
    keys.press("Delete")
    expect(page.locator(".knot")).to_have_count(2)
    keys.press("Escape")
    expect(page.locator(".knot")).to_have_count(0)
    expect(page.locator(".pad")).to_be_focused()
    assert "sketch" not in page.url


def test_numbers_and_pad_stay_in_step(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?preset=inverse")
    page.locator(".numbers summary").click()
    rows = page.locator("[data-knots] tr")
    assert rows.count() == page.locator(".knot").count() >= 3
    last = rows.last.locator("input").nth(1)
    last.fill("9.5")
    expect(page.locator(".knot").last).to_have_attribute("aria-valuenow", "9.5")
    _settled(visit)
    assert _knots(visit)[-1][1] == 9.5
    while rows.count() < 16:
        page.locator("[data-action=add-knot]").click()
    expect(page.locator("[data-action=add-knot]")).to_be_disabled()
    assert len(_knots(visit)) == 16


def test_numbers_keep_the_focus_while_they_are_changed(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?preset=inverse")
    page.locator(".numbers summary").click()
    nats = page.locator("[data-knots] tr").last.locator("input").nth(1)
    nats.focus()
    before = float(nats.input_value())
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(nats).to_be_focused()
    assert float(nats.input_value()) == before - 2
    nats.fill("999")
    page.keyboard.press("Tab")
    expect(nats).not_to_have_value("999")  # what is beyond the pad is brought back into it


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ("sketch=20000:8,3000000:0.5&cls=polygenic", {"cls", "axis"}),
        ("preset=step&at=2&emergence_min=1000", {"preset", "axis"}),
        ("lasso=-9:-9,9:-9,9:9,-9:9&only_largest=2&like=5", {"like", "axis"}),
        ("sketch=20000:8,3000000:0.5&sort=distance&inv=level&zoom=0.4:0.4:2", {"axis"}),
    ],
)
def test_another_axis_leaves_behind_what_meant_nothing_there(
    visit: Visit, asked: str, left: set[str]
) -> None:
    page = visit.page
    _open(visit, f"/predictions?{asked}")
    if not page.locator("[name=axis]").is_visible():
        page.get_by_text("Axis and order").click()
    page.locator("[name=axis]").select_option("S")
    with page.expect_navigation():
        page.locator("button.primary").click()
    query = parse_qs(urlsplit(page.url).query)
    query.pop("corpus", None)
    assert set(query) == left
    assert page.locator(".hit").count() > 0


def test_a_preset_keeps_the_filters(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=monogenic&cls=polygenic")
    with page.expect_navigation():
        page.locator(".presets").get_by_role("link", name="Late").click()
    assert {"monogenic", "polygenic"} == set(parse_qs(urlsplit(page.url).query)["cls"])
    expect(page.locator(".presets [aria-current]")).to_have_text("Late")
    kinds = set(page.locator(".hit-class").all_inner_texts())
    assert {kind.strip() for kind in kinds} <= {"monogenic", "polygenic"}
    assert page.locator(".hit-asked").count() == page.locator(".hit").count() > 0


def test_a_preset_can_be_searched_for_at_its_very_level(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?preset=late")
    level = page.locator("input[type=checkbox][name=inv][value=level]")
    expect(level).to_be_checked()  # the default of a preset
    level.uncheck()
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert parse_qs(urlsplit(page.url).query)["inv"] == ["none"]
    expect(level).not_to_be_checked()
    answer = _answer(visit, "/api/v1/predictions?preset=late&inv=none&limit=50")
    assert [match["index"] for match in answer["matches"]] == _indices(visit)
    level.check()
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert "inv" not in parse_qs(urlsplit(page.url).query)
    expect(level).to_be_checked()


def test_filters_are_sent_by_the_form_and_removed_by_their_chips(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions")
    page.locator("[name=token]").fill(" the")
    page.get_by_text("Scores", exact=True).click()
    page.locator("[name=final_max]").fill("4")
    with page.expect_navigation():
        page.locator("button.primary").click()
    query = parse_qs(urlsplit(page.url).query, keep_blank_values=True)
    query.pop("corpus", None)  # said only where the store holds several
    assert query == {"token": [" the"], "final_max": ["4"]}  # nothing that says nothing
    answers = set(page.locator(".hit-text .tok").all_inner_texts())
    assert len(answers) == 1
    with page.expect_navigation():
        page.get_by_role("link", name=re.compile("final loss")).click()
    assert "final_max" not in page.url
    assert "token=" in page.url


def test_back_returns_to_the_search_before(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=learned")
    first = _indices(visit)
    page.locator(".pad").scroll_into_view_if_needed()
    page.keyboard.press("s")
    page.keyboard.press("+")
    page.keyboard.press("+")
    _settled(visit)
    assert "sketch=" in page.url  # the drawing is in the address before any search
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert "sketch=" in page.url
    drawn = _indices(visit)
    page.go_back()
    expect(page.locator(".hit").first).to_have_attribute("data-index", str(first[0]))
    assert urlsplit(page.url).query == "cls=learned"
    assert _indices(visit) == first
    page.go_forward()
    expect(page.locator(".knot")).to_have_count(2)
    assert _indices(visit) == drawn


def _wait_for_map(visit: Visit) -> Locator:
    box = visit.page.locator("[data-map]")
    box.scroll_into_view_if_needed()
    expect(box).to_have_attribute("data-state", "drawn", timeout=20_000)
    return box.locator("canvas")


def test_a_lasso_filters_the_list(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=polygenic")
    before = page.locator(".count b").inner_text()
    canvas = _wait_for_map(visit)
    corners = ((0.1, 0.1), (0.6, 0.1), (0.6, 0.9), (0.1, 0.9), (0.1, 0.15))
    page.mouse.move(*_spot(canvas, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*_spot(canvas, *corner), steps=6)
    with page.expect_navigation():
        page.mouse.up()
    assert "lasso=" in page.url
    assert "lasso_of=" in page.url
    assert "cls=polygenic" in page.url
    after = page.locator(".count b").inner_text()
    assert 0 < int(re.sub(r"\D", "", after)) < int(re.sub(r"\D", "", before))
    query = urlsplit(page.url).query
    answer = _answer(visit, f"/api/v1/predictions?{query}&limit=50")
    assert [match["index"] for match in answer["matches"]] == _indices(visit)
    page.go_back()
    expect(page.locator(".count b")).to_have_text(before)


def test_the_map_is_walked_by_keyboard(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=monogenic")
    _wait_for_map(visit)
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
    _open(visit, "/predictions?cls=learned")
    _wait_for_map(visit)
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
    assert _indices(visit)[0] == int(own)


def test_files_of_the_list_are_reached_by_key(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=monogenic")
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
    _open(visit, f"/predictions?preset=late&cls=monogenic&theme={theme}")
    _wait_for_map(visit)
    visit.page.locator(".numbers summary").click()
    visit.page.locator("[data-action=map-table]").click()
    assert faults(visit) == []


@pytest.mark.parametrize("width", [320, 390])
def test_narrow_windows_do_not_scroll_sideways(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    _open(visit, "/predictions?preset=step&at=2")
    _wait_for_map(visit)
    overflow = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0


def test_targets_are_large_enough(visit: Visit) -> None:
    _open(visit, "/predictions?preset=late&cls=monogenic")
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
    assert page.locator(".hit").count() > 0
    assert page.locator(".pad-curve").get_attribute("points")
    page.locator(".presets").get_by_role("link", name="Inverse").click()
    assert page.locator(".hit-asked").count() > 0
    context.close()


def test_corpus_text_is_text_in_results_and_on_the_map(hostile: Visit) -> None:
    page = hostile.page
    _open(hostile, "/predictions?text=<script>")
    _wait_for_map(hostile)
    assert page.locator(".hit").count() > 0
    assert page.locator("main script, main img, [onerror]").count() == 0
    page.keyboard.press("u")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".map-tip polyline")).to_be_attached()
    assert page.locator("main script, main img, [onerror]").count() == 0


def test_a_list_that_fails_keeps_the_old_one_and_is_tried_again(visit: Visit) -> None:
    page = visit.page
    _open(visit, "/predictions?cls=learned")
    before = _indices(visit)
    page.route("**/predictions?*sketch*", lambda route: route.abort())
    page.keyboard.press("s")
    page.keyboard.press("+")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("The server cannot be reached")
    assert _indices(visit) == before
    expect(page.locator("#results")).to_have_attribute("data-stale", "")
    page.unroute("**/predictions?*sketch*")
    strip.get_by_role("button", name="Retry").click()
    _settled(visit)
    expect(strip).to_have_count(0)
    assert _indices(visit) != before
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
    _open(visit, "/predictions")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("the store is busy. There is no map. Request id r-77")
    page.unroute("**/figures/curve-map*")
    strip.get_by_role("button", name="Retry").click()
    _wait_for_map(visit)
    expect(strip).to_have_count(0)
    visit.faults[:] = [fault for fault in visit.faults if "503" not in fault]
