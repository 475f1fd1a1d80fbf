"""Token search: drawing, presets, filters, and what the address keeps."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, _watch
from tests.browser.searching import (
    answer_of,
    indices_of,
    knots_of,
    open_search,
    settled,
    spot_on,
    wait_for_map,
)

pytestmark = pytest.mark.browser


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
    displayed = indices_of(visit)
    more = page.locator("a[rel=next]")
    while more.count():  # further pages of the same answer
        with page.expect_navigation():
            more.click()
        displayed += indices_of(visit)
    answer = answer_of(visit, "/api/v1/predictions?only_largest=2&limit=200")
    assert displayed
    assert answer["n_matching"] == len(displayed)
    assert [match["index"] for match in answer["matches"]] == displayed[:200]
    largest = [match["loss_nats"][-2:] for match in answer["matches"]]
    assert all(loss < 0.6932 for pair in largest for loss in pair)


def test_a_curve_is_drawn_with_the_mouse_and_the_list_follows(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions")
    pad = page.locator(".pad")
    page.mouse.move(*spot_on(pad, 0.1, 0.2))
    page.mouse.down()
    for across, down in ((0.3, 0.22), (0.5, 0.3), (0.55, 0.7), (0.9, 0.75)):
        page.mouse.move(*spot_on(pad, across, down), steps=8)
    page.mouse.up()
    settled(visit)
    knots = knots_of(visit)
    assert 2 <= len(knots) <= 16
    assert knots == sorted(knots)
    assert knots[0][1] > 6
    assert knots[-1][1] < 3.5
    query = urlsplit(page.url).query
    answer = answer_of(visit, f"/api/v1/predictions?{query}&limit=50")
    assert [match["index"] for match in answer["matches"]] == indices_of(visit)
    distances = [match["distance"] for match in answer["matches"]]
    assert distances == sorted(distances)

    displayed = indices_of(visit)
    page.reload()
    expect(page.locator(".knot")).to_have_count(len(knots))
    assert indices_of(visit) == displayed


@pytest.mark.parametrize("question", ["", "?preset=late", "?like=7"])
def test_any_curve_can_be_searched_for_together_with_a_filter(visit: Visit, question: str) -> None:
    """Numbers of a drawn curve have any decimals, and none of them holds up the form."""
    page = visit.page
    open_search(visit, "/predictions" + question)
    pad = page.locator(".pad")
    page.mouse.move(*spot_on(pad, 0.13, 0.237))
    page.mouse.down()
    page.mouse.move(*spot_on(pad, 0.47, 0.341), steps=8)
    page.mouse.move(*spot_on(pad, 0.91, 0.743), steps=8)
    page.mouse.up()
    settled(visit)
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
    open_search(visit, "/predictions?cls=monogenic&cls=polygenic")
    count = page.locator(".count b").inner_text()
    page.locator("[name=token]").fill(" the")
    page.locator("h1").click()
    page.keyboard.press("s")
    page.keyboard.press("+")
    settled(visit)
    query = parse_qs(urlsplit(page.url).query)
    assert "token" not in query
    assert query["cls"] == ["monogenic", "polygenic"]
    expect(page.locator(".count b")).to_have_text(count)
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert {"token", "sketch", "cls"} <= set(parse_qs(urlsplit(page.url).query))


def test_a_search_keeps_the_zoom_of_the_map(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions")
    wait_for_map(visit)
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
    open_search(visit, "/predictions?preset=late")
    before = page.locator(".knot").last.get_attribute("aria-valuenow")
    box = page.locator(".knot-dot").last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] - 60, steps=5)
    page.mouse.up()
    settled(visit)
    after = page.locator(".knot").last.get_attribute("aria-valuenow")
    assert before is not None
    assert after is not None
    assert float(after) > float(before) + 1
    assert "preset" not in page.url


def test_a_curve_is_drawn_by_touch(browser: Browser, server_url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    visit = Visit(context.new_page(), server_url)
    _watch(visit)
    open_search(visit, "/predictions")
    pad = visit.page.locator(".pad")
    pad.scroll_into_view_if_needed()
    scrolled = visit.page.evaluate("scrollY")
    session = context.new_cdp_session(visit.page)
    path = [spot_on(pad, 0.1 + 0.08 * i, 0.15 + 0.06 * i) for i in range(11)]
    for i, (x, y) in enumerate(path):
        kind = "touchMove" if i else "touchStart"
        touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", touch)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settled(visit)
    knots = knots_of(visit)
    assert knots[0][1] > knots[-1][1] + 3
    assert visit.page.evaluate("scrollY") == scrolled  # the finger drew, it did not scroll
    visit.check()
    context.close()


def test_a_curve_is_drawn_by_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions")
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
    settled(visit)
    knots = knots_of(visit)
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
    open_search(visit, "/predictions?preset=inverse")
    page.locator(".numbers summary").click()
    rows = page.locator("[data-knots] tr")
    assert rows.count() == page.locator(".knot").count() >= 3
    last = rows.last.locator("input").nth(1)
    last.fill("9.5")
    expect(page.locator(".knot").last).to_have_attribute("aria-valuenow", "9.5")
    settled(visit)
    assert knots_of(visit)[-1][1] == 9.5
    while rows.count() < 16:
        page.locator("[data-action=add-knot]").click()
    expect(page.locator("[data-action=add-knot]")).to_be_disabled()
    assert len(knots_of(visit)) == 16


def test_numbers_keep_the_focus_while_they_are_changed(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?preset=inverse")
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
    ("params", "left"),
    [
        ("sketch=20000:8,3000000:0.5&cls=polygenic", {"cls", "axis"}),
        ("preset=step&at=2&emergence_min=1000", {"preset", "axis"}),
        ("lasso=-9:-9,9:-9,9:9,-9:9&only_largest=2&like=5", {"like", "axis"}),
        ("sketch=20000:8,3000000:0.5&sort=distance&inv=level&zoom=0.4:0.4:2", {"axis"}),
    ],
)
def test_another_axis_leaves_behind_what_meant_nothing_there(
    visit: Visit, params: str, left: set[str]
) -> None:
    page = visit.page
    open_search(visit, f"/predictions?{params}")
    if not page.locator("[name=axis]").is_visible():
        page.get_by_text("Axis and order").click()
    page.locator("[name=axis]").select_option("S")
    with page.expect_navigation():
        page.locator("button.primary").click()
    query = parse_qs(urlsplit(page.url).query)
    query.pop("corpus", None)
    assert set(query) == left
    assert page.locator(".match").count() > 0


def test_a_preset_keeps_the_filters(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=monogenic&cls=polygenic")
    with page.expect_navigation():
        page.locator(".presets").get_by_role("link", name="Late").click()
    assert {"monogenic", "polygenic"} == set(parse_qs(urlsplit(page.url).query)["cls"])
    expect(page.locator(".presets [aria-current]")).to_have_text("Late")
    kinds = set(page.locator(".match-class").all_inner_texts())
    assert {kind.strip() for kind in kinds} <= {"monogenic", "polygenic"}
    assert page.locator(".match-query").count() == page.locator(".match").count() > 0


def test_a_preset_can_be_searched_for_at_its_very_level(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?preset=late")
    level = page.locator("input[type=checkbox][name=inv][value=level]")
    expect(level).to_be_checked()  # the default of a preset
    level.uncheck()
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert parse_qs(urlsplit(page.url).query)["inv"] == ["none"]
    expect(level).not_to_be_checked()
    answer = answer_of(visit, "/api/v1/predictions?preset=late&inv=none&limit=50")
    assert [match["index"] for match in answer["matches"]] == indices_of(visit)
    level.check()
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert "inv" not in parse_qs(urlsplit(page.url).query)
    expect(level).to_be_checked()


def test_filters_are_sent_by_the_form_and_removed_by_their_chips(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions")
    page.locator("[name=token]").fill(" the")
    page.get_by_text("Scores", exact=True).click()
    page.locator("[name=final_max]").fill("4")
    with page.expect_navigation():
        page.locator("button.primary").click()
    query = parse_qs(urlsplit(page.url).query, keep_blank_values=True)
    query.pop("corpus", None)  # said only where the store holds several
    assert query == {"token": [" the"], "final_max": ["4"]}  # nothing that says nothing
    answers = set(page.locator(".match-text .tok").all_inner_texts())
    assert len(answers) == 1
    with page.expect_navigation():
        page.get_by_role("link", name=re.compile("final loss")).click()
    assert "final_max" not in page.url
    assert "token=" in page.url


def test_back_returns_to_the_search_before(visit: Visit) -> None:
    page = visit.page
    open_search(visit, "/predictions?cls=learned")
    first = indices_of(visit)
    page.locator(".pad").scroll_into_view_if_needed()
    page.keyboard.press("s")
    page.keyboard.press("+")
    page.keyboard.press("+")
    settled(visit)
    assert "sketch=" in page.url  # the drawing is in the address before any search
    with page.expect_navigation():
        page.locator("button.primary").click()
    assert "sketch=" in page.url
    settled(visit)
    drawn = indices_of(visit)
    page.go_back()
    expect(page.locator(".match").first).to_have_attribute("data-index", str(first[0]))
    assert urlsplit(page.url).query == "cls=learned"
    assert indices_of(visit) == first
    page.go_forward()
    expect(page.locator(".knot")).to_have_count(2)
    expect(page.locator(".match")).to_have_count(len(drawn))
    assert indices_of(visit) == drawn
