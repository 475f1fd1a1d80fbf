"""What keys, themes, sliders and narrow windows do."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/clusterings",
    "/documents",
    "/scaling",
    "/scaling?axis=S",
    "/grokking",
    "/omnigrok",
    "/modular-addition",
    "/theory",
    "/glossary",
    "/api",
)


def first_document(visit: Visit) -> str:
    """Return the path of the first document."""
    visit.open("/documents")
    path = visit.page.locator("[data-row]").first.get_attribute("href")
    assert path is not None
    return path


def open_heat(visit: Visit, params: str = "") -> None:
    """Open the first document's heat and wait until the page listens."""
    visit.open(first_document(visit) + params)
    expect(visit.page.locator("[data-heat][data-state=ready]")).to_be_attached()


def first_cluster(visit: Visit) -> str:
    """Return the path of the largest cluster."""
    visit.open("/clusterings")
    path = visit.page.locator("[data-row]").first.get_attribute("href")
    assert path is not None
    return path


def test_question_mark_opens_the_help_and_escape_closes_it(visit: Visit) -> None:
    visit.open("/glossary")
    visit.page.keyboard.press("?")
    expect(visit.page.locator("#help")).to_be_visible()
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator("#help")).to_be_hidden()


def test_keys_are_ignored_while_typing(visit: Visit) -> None:
    visit.open("/clusterings")
    field = visit.page.locator("input[name=answer]")
    field.focus()
    visit.page.keyboard.type("go?")
    expect(field).to_have_value("go?")
    expect(visit.page.locator("#help")).to_be_hidden()


def theme_colour(page: Page, name: str) -> str:
    """The colour of the style sheet in the current theme, as the browser computes it."""
    script = """name => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color;
    }"""
    colour: str = page.evaluate(script, name)
    return colour


def test_theme_is_kept_and_repaints_plots(visit: Visit) -> None:
    page = visit.page
    visit.open("/")
    visit.wait_for_plots()
    page.emulate_media(color_scheme="light")
    light = theme_colour(page, "muted")
    button = page.locator("[data-action=theme]")
    button.click()
    button.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    title = page.locator(".plot .xtitle").first
    dark = theme_colour(page, "muted")
    assert dark != light
    expect(title).to_have_css("fill", dark)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    visit.open("/?theme=light")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert theme_colour(page, "muted") == light
    expect(page.locator("body")).to_have_css("background-color", theme_colour(page, "page"))


def test_tables_and_maximising_by_key(visit: Visit) -> None:
    page = visit.page
    visit.open("/clusterings")
    visit.wait_for_plots()
    page.keyboard.press("t")
    expect(page.locator(".plot-table table")).to_be_visible()
    assert page.locator(".plot-table tbody tr").count() > 3
    page.keyboard.press("t")
    expect(page.locator(".plot-table")).to_be_hidden()
    page.keyboard.press("m")
    expect(page.locator(".plot.max")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".plot.max")).to_have_count(0)


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_plots_are_exported(visit: Visit, kind: str) -> None:
    visit.open("/scaling")
    visit.wait_for_plots()
    with visit.page.expect_download() as download:
        visit.page.locator(f"[data-plot='{kind}']").first.click()
    assert download.value.suggested_filename.endswith(f".{kind}")
    content = download.value.path().read_bytes()
    start = {"png": b"\x89PNG", "svg": b"<svg", "csv": b'"series"'}[kind]
    assert content.startswith(start)


def test_heat_moves_over_sizes_on_one_scale(visit: Visit) -> None:
    page = visit.page
    open_heat(visit)
    legend = page.locator(".legend").inner_text()
    mean = page.locator("#heat-mean").inner_text()
    classes = page.locator(".document").evaluate(
        "text => [...text.children].map((t) => t.className)"
    )
    page.keyboard.press("[")
    expect(page.locator("#heat-mean")).not_to_have_text(mean)
    assert page.locator(".legend").inner_text() == legend
    after = page.locator(".document").evaluate("text => [...text.children].map((t) => t.className)")
    assert after != classes
    expect(page).to_have_url(re.compile(r"model="))
    shared = page.locator("#heat-mean").inner_text()
    page.reload()
    expect(page.locator("#heat-mean")).to_have_text(shared)
    assert (
        page.locator(".document").evaluate("text => [...text.children].map((t) => t.className)")
        == after
    )


def test_what_is_set_on_a_heat_goes_along(visit: Visit) -> None:
    """Neighbours, the tokens to choose and the API call are those of the view, not of its start."""
    page = visit.page
    open_heat(visit, "?measure=p_token")
    first = page.locator("#model").input_value()
    page.keyboard.press("[")
    smaller = page.locator("#model").input_value()
    assert smaller != first
    page.keyboard.press(",")
    step = page.locator("#step").input_value()
    expect(page).to_have_url(re.compile(rf"step={step}\b"))
    state = {"model": [smaller], "step": [step], "measure": ["p_token"]}
    call = page.locator(".api-call pre").first.text_content() or ""
    named = parse_qs(urlsplit(call.split("'")[1]).query)
    assert {name: named[name] for name in state} == state
    python = page.locator(".api-call [data-python]").first.text_content() or ""
    assert "client.heat(" in python
    assert f'model="{smaller}"' in python
    assert f'step={step}, measure="p_token"' in python
    with page.expect_navigation():
        page.locator(".presets a").nth(1).click()
    expect(page.locator("[data-heat][data-state=ready]")).to_be_attached()
    displayed = parse_qs(urlsplit(page.url).query)
    assert {name: displayed[name] for name in state} == state
    target = displayed["target"]
    page.keyboard.press("[")
    state["model"] = [page.locator("#model").input_value()]
    with page.expect_navigation():
        page.keyboard.press("j")
    displayed = parse_qs(urlsplit(page.url).query)
    assert {name: displayed[name] for name in state} == state
    assert displayed["target"] == target
    assert visit.path().endswith("/1")
    visit.faults[:] = [fault for fault in visit.faults if "409" not in fault]


def test_the_lines_of_a_route_follow_its_form(visit: Visit) -> None:
    page = visit.page
    visit.open("/api#GET-api-v1-suites-suite")
    form = page.locator('[data-path="/api/v1/suites/{suite}"]')
    form.locator("[name=suite]").fill("mini")
    form.locator("[name=corpus]").fill('a "b"')
    expect(form.locator("[data-python]")).to_contain_text(
        'client.get("/api/v1/suites/mini?corpus=a+%22b%22")'
    )
    expect(form.locator("[data-curl]")).to_contain_text("/api/v1/suites/mini?corpus=")


def test_the_legend_says_whose_scale_it_is(visit: Visit) -> None:
    page = visit.page
    open_heat(visit, "?measure=p&log=1")
    note = page.locator("[data-scale-note]")
    expect(note).to_have_text("same scale for every model, step and document")
    page.locator(".scale summary").first.click()
    page.locator("[name=lo]").fill("0.001")
    page.locator("[name=lo]").press("Tab")
    expect(note).to_have_text("your scale")
    page.locator("[data-action=scale-off]").click()
    expect(note).to_have_text("same scale for every model, step and document")
    page.locator("[name=lock]").check()
    expect(note).to_have_text("scale fitted to these values alone")
    expect(page).to_have_url(re.compile("log=1"))
    about = page.locator(".document .t").nth(3)
    about.hover()
    displayed = page.locator("#tip").inner_text()
    with page.expect_navigation():
        page.reload()
    expect(note).to_have_text("scale fitted to these values alone")
    page.mouse.move(0, 0)
    about.hover()
    expect(page.locator("#tip")).to_have_text(displayed)  # page and script write a value alike
    with page.expect_navigation():
        page.locator("[name=log]").uncheck()
    assert "log=" not in page.url


def test_a_token_tells_its_value_on_focus(visit: Visit) -> None:
    page = visit.page
    visit.open(first_document(visit))
    assert page.locator(".document .t[tabindex='0']").count() == 1
    page.locator(".document .t[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("nats · position 1")
    expect(page.locator("#said")).to_contain_text("nats · position 1")
    assert page.locator(".document .t[tabindex='0']").count() == 1


def test_the_address_names_the_token_that_is_looked_at(visit: Visit) -> None:
    page = visit.page
    open_heat(visit)
    page.locator(".document .t").nth(5).focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile("pos=6"))
    with page.expect_navigation():
        page.locator("[name=measure]").select_option("p")
    expect(page.locator("#t6")).to_have_class(re.compile(r"\bat\b"))
    assert parse_qs(urlsplit(page.url).query)["pos"] == ["6"]
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.locator("a[rel=next]").first.click()
    assert "pos" not in page.url


def test_reduced_motion_keeps_play_still(visit: Visit) -> None:
    page = visit.page
    page.emulate_media(reduced_motion="reduce")
    visit.open(first_document(visit))
    page.locator("[data-action=play]").click()
    expect(page.locator("[data-action=play]")).to_have_attribute("aria-pressed", "false")


def test_notes_are_kept(visit: Visit) -> None:
    page = visit.page
    path = first_cluster(visit)
    visit.open(path)
    page.locator("[name=label]").fill("<b>tried</b>")
    page.locator("[name=tags]").fill("one, two")
    page.locator(".annotation button").click()
    expect(page.locator(".annotation [role=status]")).to_have_text("Saved")
    visit.open(path)
    expect(page.locator("h1")).to_contain_text("<b>tried</b>")
    expect(page.locator("[name=tags]")).to_have_value("one, two")
    page.locator("[name=label]").fill("")
    page.locator("[name=tags]").fill("")
    page.locator(".annotation button").click()
    expect(page.locator(".annotation [role=status]")).to_have_text("Saved")


def test_a_bar_filters_the_contexts(visit: Visit) -> None:
    page = visit.page
    visit.open(first_cluster(visit))
    visit.wait_for_plots()
    page.locator("#last [data-plot=table]").click()
    link = page.locator("#last .plot-table a").first
    name = link.inner_text()
    link.click()
    page.wait_for_url(re.compile(r"\?last=\d+"))
    expect(page.locator("#contexts .note").first).to_contain_text("Only members after")
    assert name


def test_more_contexts_are_appended(visit: Visit) -> None:
    page = visit.page
    visit.open("/clusterings/1")  # the coarsest: its largest cluster fills more than one page
    path = page.locator("[data-row]").first.get_attribute("href")
    assert path is not None
    visit.open(path)
    more = page.locator("a[data-more]")
    expect(more).to_have_count(1)
    before = page.locator(".context").count()
    more.click()
    expect(page.locator(".context")).not_to_have_count(before)


@pytest.mark.parametrize(
    "path", ["/clusterings/{id}?min_size=many", "/scaling?axis=Q", "/theory?alpha=0"]
)
def test_bad_parameters_are_named_with_a_way_back(visit: Visit, path: str) -> None:
    visit.open("/clusterings")
    clustering = visit.path().rsplit("/", 1)[1]
    response = visit.page.goto(visit.base + path.format(id=clustering))
    assert response is not None
    assert response.status == 422
    banner = visit.page.locator(".banner")
    expect(banner).to_contain_text(re.compile("min_size|axis|alpha"))
    with visit.page.expect_navigation():
        banner.get_by_text("Reset this page").click()
    expect(visit.page.locator(".banner")).to_have_count(0)
    # Chromium logs the 422 itself; it is what this test asked for.
    visit.faults[:] = [fault for fault in visit.faults if "422" not in fault]


def test_narrow_windows_scroll_only_tables(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 320, "height": 640})
    paths = [*PAGES, first_document(visit), first_cluster(visit)]
    for path in paths:
        visit.open(path)
        visit.wait_for_plots()
        overflow = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{path} is {overflow} px too wide"


def test_pages_are_whole_without_javascript(browser: Browser, server_url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server_url + "/clusterings")
    page.locator("[data-row]").first.click()
    assert page.locator(".context .t.ans").count() > 0
    assert page.locator(".context .t[title*=nats]").count() > 0
    page.locator(".context-head a").first.click()
    assert page.locator("table").count() > 0
    page.locator(".trail a").first.click()
    assert page.locator(".document a.t[class*=' h']").count() > 0
    context.close()


def test_a_split_character_is_shown_once_and_says_so(hostile: Visit) -> None:
    page = hostile.page
    hostile.open("/documents")
    paths = page.locator("[data-row]").evaluate_all("all => all.map((a) => a.pathname)")
    result = next(path for path in paths if " part" in page.request.get(hostile.base + path).text())
    hostile.open(result)
    page.locator(".document .t.part").first.hover()
    expect(page.locator("#tip")).to_contain_text("one character shared by tokens")
    # Only a document that is cut inside its last character has a part without its neighbours.
    assert "\ufffd" not in page.locator(".document").inner_text().rstrip("\ufffd\n ")


def _refused(route: Any) -> None:
    problem = {"detail": "the store is being moved", "remedy": "Wait", "request_id": "r-1234"}
    route.fulfill(status=503, content_type="application/problem+json", body=json.dumps(problem))


def test_a_heat_that_fails_says_why_and_is_tried_again(visit: Visit) -> None:
    page = visit.page
    open_heat(visit)
    before = page.locator("#heat-mean").inner_text()
    page.route("**/heat?*", _refused)
    page.keyboard.press("[")
    strip = page.locator(".fault")
    expect(strip).to_contain_text("the store is being moved")
    expect(strip).to_contain_text("r-1234")
    expect(strip).to_contain_text("The colours are those of")
    expect(page.locator(".document")).to_have_attribute("data-stale", "")
    assert page.locator("#heat-mean").inner_text() == before
    page.unroute("**/heat?*")
    strip.get_by_role("button", name="Retry").click()
    expect(strip).to_have_count(0)
    expect(page.locator("#heat-mean")).not_to_have_text(before)
    expect(page.locator("[data-stale]")).to_have_count(0)
    visit.faults[:] = [fault for fault in visit.faults if "503" not in fault]
