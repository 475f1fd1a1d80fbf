"""Corpus text in labels, hovers and running text."""

import pytest
from playwright.sync_api import Route, expect

from app.figures.base import payload
from app.figures.labels import plotly_text, visible
from app.figures.quanta import count_figure
from app.web.token_pieces import is_plain, join_tokens, pieces
from backend.quanta.views import Count
from backend.read.views import Token
from tests.browser.conftest import Visit
from tests.browser.test_views import first_cluster

HOSTILE = (
    "<b>bold</b>",
    "<a href='//x'>",
    "<img src=x>",
    "&lt;i&gt;",
    "%{x}",
    "$x^2$",
    "<br>",
    "1",
    "1",
    "\n\t",
    "  ",
    "</script>",
)


@pytest.mark.parametrize(
    ("text", "displayed"),
    [(" the", "␠the"), ("\n", "⏎"), ("a\tb ", "a⇥b␠"), ("   ", "␠␠␠"), ("", "∅"), ("\x00", "␀")],
)
def test_invisible_characters_have_signs(text: str, displayed: str) -> None:
    assert visible(text) == displayed


def test_long_labels_are_cut_before_they_are_escaped() -> None:
    assert plotly_text("<" * 30, 4) == "&lt;&lt;&lt;…"


def test_direction_overrides_are_named_and_not_obeyed() -> None:
    assert "\u202e" not in "".join(piece.sign + piece.text for piece in pieces("a\u202eb"))
    assert visible("a\u202eb") == "a⟨U+202E⟩b"


@pytest.mark.parametrize("text", ["plain", " leading", "naïve", "日本", "a b"])
def test_visible_text_is_printed_as_it_is(text: str) -> None:
    assert is_plain(text)
    assert "".join(piece.text for piece in pieces(text)) == text


def test_running_text_keeps_lines_and_indentation() -> None:
    assert "".join(piece.text for piece in pieces("a\n        ")) == "a\n        "
    assert [piece.sign for piece in pieces("x ")] == ["", "␠"]


def test_chips_print_spaces_as_signs() -> None:
    assert "".join(piece.sign + piece.text for piece in pieces(" x\n", chip=True)) == "␠x⏎"


def test_examples_stay_on_one_line() -> None:
    assert join_tokens([Token("a\n", 1, "a\n"), Token("\tb", 2, "\tb")]) == "a⏎⇥b"


@pytest.mark.browser
def test_plots_draw_corpus_text_literally(visit: Visit) -> None:
    counts = [Count(Token(text, i, text), 90 - i) for i, text in enumerate(HOSTILE)]
    figure = payload({"answers": count_figure(counts, "answers")})

    def answer(route: Route) -> None:
        route.fulfill(body=figure, content_type="application/json")

    path = first_cluster(visit)
    visit.page.route("**/figures/clusters/*", answer)
    visit.page.goto(visit.base + path)
    plot = visit.page.locator("#answers")
    expect(plot).to_have_attribute("data-state", "drawn", timeout=20_000)
    drawn = [text.replace("\xa0", " ") for text in plot.locator(".ytick text").all_text_contents()]
    assert drawn == [visible(text).replace("␠", "␣") for text in HOSTILE]
    assert plot.locator("svg a, img, script").count() == 0
    for i in (0, 1, 4):
        box = plot.locator(".barlayer .point").nth(i).bounding_box()
        assert box is not None
        visit.page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
        expect(plot.locator(".hoverlayer .hovertext")).to_contain_text(HOSTILE[i])
    plot.locator("[data-plot=table]").click()
    expect(plot.locator("tbody th").first).to_have_text(HOSTILE[0])
