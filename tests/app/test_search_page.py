"""The page of token search: it shows what the API answers, and says what is wrong at its field."""

import gzip
import html
import json
import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.figures.curve_map import pack_curve_map
from app.figures.curves import curve_drawing, log_shares
from app.pages.addresses import address, non_empty_params
from app.pages.search_parts import CLASS_LEGEND, filter_chips
from backend.search import filters as search_filters
from backend.search.curve_map import CurveMap
from backend.search.filters import TEXT_SECONDS
from backend.search.text_filters import TextMatches, text_mask
from compute.curve_classes import CURVE_CLASSES

API = "/api/v1/predictions"
FIELDS = (
    *("sketch", "preset", "at", "like", "model", "text", "regex", "token", "token_pattern"),
    *("source", "document", "cls", "published", "only_largest", "right", "sort", "cursor"),
    *("drop_min", "drop_max", "sharpness_min", "emergence_max", "final_min", "lasso", "inv"),
)


def _indices(page: str) -> list[int]:
    return [int(index) for index in re.findall(r'<li class="match" data-index="(\d+)"', page)]


def _links(page: str, inside: str) -> dict[str, str]:
    """Return the addresses of the links in a part of the page by their text."""
    part = re.search(rf'<(nav|ul) class="{inside}".*?</\1>', page, re.DOTALL)
    if part is None:
        return {}
    result = re.findall(r'<a[^>]*href="([^"]*)"[^>]*>(.*?)</a>', part[0], re.DOTALL)
    return {
        html.unescape(re.sub(r"<[^>]*>", "", text)).strip(): html.unescape(href)
        for href, text in result
    }


@pytest.mark.parametrize(
    "question",
    [
        "",
        "only_largest=2",
        "preset=step&at=2",
        "preset=late&inv=level&inv=scale",
        "sketch=20000:8,3000000:0.5&cls=monogenic&cls=polygenic",
        "like=100&inv=shift",
        "text=return&final_max=1&sort=drop&order=desc",
        "axis=S&preset=early",
        "lasso=-100:-100,100:-100,100:100,-100:100&cls=u-shaped",
    ],
)
def test_the_page_lists_what_the_api_answers(client: TestClient, question: str) -> None:
    page = client.get(f"/predictions?{question}")
    assert page.status_code == 200
    answer = client.get(f"{API}?{question}&limit=50").json()
    assert _indices(page.text) == [match["index"] for match in answer["matches"]]
    displayed = re.search(r'class="count"[^>]*><b>(.*?)</b> of (.*?) predictions', page.text)
    assert displayed is not None
    counts = [int(re.sub(r"\D", "", number)) for number in displayed.groups()]
    assert counts == [answer["n_matching"], answer["n_predictions"]]


def test_the_call_that_the_page_names_gives_its_list(client: TestClient) -> None:
    page = client.get("/predictions?preset=late&cls=monogenic&token_pattern=e$").text
    named = re.search(r"curl -s 'http://[^/]+([^']*)'", page)
    assert named is not None
    answer = client.get(html.unescape(named[1])).json()
    assert _indices(page) == [match["index"] for match in answer["matches"]] != []


def test_the_files_hold_what_the_page_lists(client: TestClient) -> None:
    page = client.get("/predictions?preset=late&cls=monogenic&zoom=0.5:0.5:2").text
    part = re.search(r"data-exports>(.*?)</p>", page, re.DOTALL)
    assert part is not None
    files = {
        text: html.unescape(h) for h, text in re.findall(r'href="([^"]*)"[^>]*>(\w+)<', part[1])
    }
    assert set(files) == {"Parquet", "Arrow", "CSV", "JSON"}
    rows = client.get(files["JSON"]).json()["rows"]
    assert [row["prediction"] for row in rows][:50] == _indices(page)
    assert all("zoom" not in href for href in files.values())
    for href in files.values():
        assert client.get(href).status_code == 200
    assert "data-exports" not in client.get("/predictions?cls=learned&final_min=5").text


def test_like_this_keeps_the_filters(client: TestClient) -> None:
    page = client.get("/predictions?preset=late&cls=monogenic&final_max=1&sort=drop").text
    href = re.search(r'href="([^"]*)">like this', page)
    assert href is not None
    query = parse_qs(urlsplit(html.unescape(href[1])).query)
    own = query.pop("like")
    assert query == {"cls": ["monogenic"], "final_max": ["1"]}
    assert _indices(client.get(html.unescape(href[1])).text)[0] == int(own[0])


def test_pages_follow_each_other_without_gap_or_repetition(client: TestClient) -> None:
    path, seen = "/predictions?cls=learned&cls=monogenic", []
    for _ in range(3):
        page = client.get(path).text
        seen += _indices(page)
        following = re.search(r'rel="next" href="([^"]*)"', page)
        assert following is not None
        path = html.unescape(following[1])
    answer = client.get(f"{API}?cls=learned&cls=monogenic&limit=150").json()
    assert seen == [match["index"] for match in answer["matches"]]


def test_empty_fields_count_as_not_given(client: TestClient) -> None:
    empty: dict[str, Any] = dict.fromkeys(FIELDS, "")
    page = client.get("/predictions", params=empty)
    assert page.status_code == 200
    assert _indices(page.text) == _indices(client.get("/predictions").text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axis", "Q"),
        ("preset", "zigzag"),
        ("sketch", "1:2"),
        ("sketch", "a:b,c:d"),
        ("sketch", "0:1,1:1"),
        ("sketch", ",".join(f"{i}:1" for i in range(1, 19))),
        ("cls", "polygenetic"),
        ("final_max", "nan"),
        ("only_largest", "0"),
        ("like", "-1"),
        ("lasso", "1:2,3:4"),
        ("order", "sideways"),
        ("sort", "beauty"),
    ],
)
def test_values_that_cannot_be_used_are_named_with_a_way_back(
    client: TestClient, field: str, value: str
) -> None:
    page = client.get("/predictions", params={field: value})
    assert page.status_code == 422
    assert field in page.text
    assert 'href="/predictions">Reset' in page.text


@pytest.mark.parametrize(("field", "plain"), [("regex", "text"), ("token_pattern", "token")])
def test_a_bad_pattern_is_named_at_its_field_and_searched_literally(
    client: TestClient, field: str, plain: str
) -> None:
    page = client.get("/predictions", params={field: "a(b", "cls": "learned"})
    assert page.status_code == 422
    assert f'id="error-{field}"' in page.text
    assert re.search(rf'name="{field}" value="a\(b"[^>]*aria-invalid="true"', page.text)
    literal = re.search(r'<a href="([^"]*)">Search for this as plain text', page.text)
    assert literal is not None
    query = parse_qs(urlsplit(html.unescape(literal[1])).query)
    assert query == {plain: ["a(b"], "cls": ["learned"]}


def test_every_chip_asks_without_its_filter_alone(client: TestClient) -> None:
    question = "preset=late&cls=monogenic&cls=polygenic&final_max=1&only_largest=1&right=0.5"
    chips = _links(client.get(f"/predictions?{question}").text, "chips")
    params = set(parse_qsl(question))
    without = [params - set(parse_qsl(urlsplit(href).query)) for href in chips.values()]
    assert without == [
        {("preset", "late")},
        {("cls", "monogenic")},
        {("cls", "polygenic")},
        {("final_max", "1")},
        {("only_largest", "1"), ("right", "0.5")},
        params,  # all of them
    ]


def test_presets_replace_the_shape_and_keep_the_filters(client: TestClient) -> None:
    page = client.get("/predictions?like=3&cls=learned&inv=level").text
    presets = _links(page, "presets")
    assert len(presets) >= 8
    for text, href in presets.items():
        query = parse_qs(urlsplit(href).query)
        assert query["cls"] == ["learned"], text
        assert ("like" in query) == text.startswith("Only"), text


def test_every_preset_works_along_steps_too(client: TestClient) -> None:
    page = client.get("/predictions?axis=S&sketch=1:9,1e3:1&cls=polygenic&emergence_min=10").text
    presets = _links(page, "presets")
    assert len(presets) >= 8
    for text, href in presets.items():
        assert client.get(href).status_code == 200, text
        assert "cls=polygenic" in href, text
        assert ("axis=S" in href) == (not text.startswith("Only")), text


def test_an_empty_answer_names_the_filter_to_clear(client: TestClient) -> None:
    page = client.get("/predictions?cls=learned&final_min=5").text
    assert "No prediction matches" in page
    offered = re.search(r"excludes? everything\. Clear(.*?)</p>", page, re.DOTALL)
    assert offered is not None
    assert "class learned" in offered[1]
    assert "final loss" in offered[1]
    page = client.get("/predictions?text=zzzqqqxxx&cls=learned").text
    offered = re.search(r"excludes? everything\. Clear(.*?)</p>", page, re.DOTALL)
    assert offered is not None
    assert "zzzqqqxxx" in offered[1]
    assert "class learned" not in offered[1]


def test_a_page_without_matches_looks_through_text_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying what to clear asks for the same text again, and keeps within the page's limit."""
    allowed: list[float] = []

    def watched(*given: Any) -> TextMatches:
        allowed.append(given[-1])
        return text_mask(*given)

    monkeypatch.setattr(search_filters, "text_mask", watched)
    question = "text=qqqq&cls=learned&final_min=5&drop_min=1&sharpness_min=0.2"
    assert "No prediction matches" in client.get(f"/predictions?{question}").text
    assert [limit for limit in allowed if limit == TEXT_SECONDS] == [TEXT_SECONDS]
    assert all(limit <= TEXT_SECONDS for limit in allowed)
    assert len(allowed) <= 2  # the second looks for no text


def test_a_text_search_that_was_cut_off_blames_no_filter(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    params: list[object] = []

    def cut_off(*given: Any) -> TextMatches:
        params.append(given)
        result = text_mask(*given)
        return TextMatches(None if result.mask is None else np.zeros_like(result.mask), "cut off")

    monkeypatch.setattr(search_filters, "text_mask", cut_off)
    page = client.get("/predictions?text=qqqqq&cls=learned&final_min=0.1").text
    assert "Incomplete: cut off" in page
    assert len(params) == 1


@pytest.mark.parametrize("inv", ["", "inv=none", "inv=none&inv=scale", "inv=level&inv=scale"])
def test_what_a_form_sends_of_invariances_is_what_it_shows(client: TestClient, inv: str) -> None:
    """Boxes that are all empty say `none`; a box beside it says what it says."""
    page = client.get(f"/predictions?preset=late&{inv}").text
    assert '<input type="hidden" name="inv" value="none"' in page
    boxes = re.findall(r'type="checkbox" name="inv" value="(\w+)" checked', page)
    answer = client.get(f"{API}?preset=late&{inv}").json()
    assert boxes == answer["invariances"]


def test_other_pages_lead_to_the_search(client: TestClient, names: dict[str, Any]) -> None:
    overview = client.get("/").text
    assert 'href="/predictions"' in overview
    assert 'href="/predictions?only_largest=2"' in overview
    prediction = client.get(f"/predictions/{names['corpus']}/7").text
    like = re.search(r'href="(/predictions\?[^"]*like=7[^"]*)"', prediction)
    assert like is not None
    response = client.get(html.unescape(like[1]))
    assert _indices(response.text)[0] == 7


def test_the_page_is_small(client: TestClient) -> None:
    page = client.get("/predictions?preset=late&cls=monogenic").content
    assert len(gzip.compress(page, 5)) <= 30_000


def test_classes_are_in_the_order_of_their_codes() -> None:
    assert tuple(kind.name for kind in CLASS_LEGEND) == CURVE_CLASSES
    assert len({kind.shape for kind in CLASS_LEGEND}) == len(CLASS_LEGEND)


def _unpacked(body: bytes) -> dict[str, Any]:
    """Read the map as the page's script does."""
    length = int.from_bytes(body[:4], "little")
    header = json.loads(body[4 : 4 + length])
    at, n = 4 + length, header["n"]
    n_blocks = -(-header["total"] // 65_536)
    words = np.frombuffer(body[at : at + 2 * (n_blocks + 3 * n)], "<u2").astype(np.int64)
    blocks, low, u, v = np.split(words, np.cumsum([n_blocks, n, n]))
    marks = np.frombuffer(body[at + 2 * len(words) :], np.uint8)
    assert len(marks) == n
    index = np.repeat(np.arange(n_blocks), blocks) * 65_536 + low
    x0, x1, y0, y1 = header["bounds"]
    return {
        "index": index,
        "x": x0 + u / 65_535 * (x1 - x0),
        "y": y0 + v / 65_535 * (y1 - y0),
        "curve_class": marks & 127,
        "matching": marks >= 128,
    }


def test_the_map_survives_packing_within_its_budget() -> None:
    rng = np.random.default_rng(0)
    n, total = 20_000, 106_396_004
    points = CurveMap(
        corpus="c",
        suite="s",
        axis="N",
        model=None,
        n_predictions=total,
        n_matching=5,
        curves="0123456789ab",
        truncated=None,
        shares=(0.9, 0.05),
        classes=CURVE_CLASSES,
        index=np.sort(rng.choice(total, n, replace=False)),
        x=rng.normal(0, 9, n).astype(np.float32),
        y=rng.normal(0, 3, n).astype(np.float32),
        curve_class=rng.choice([0, 3, 7, 255], n).astype(np.uint8),
        matching=rng.random(n) < 0.1,
    )
    body = pack_curve_map(points)
    assert len(body) <= 170_000
    result = _unpacked(body)
    assert (result["index"] == points.index).all()
    assert np.abs(result["x"] - points.x).max() <= np.ptp(points.x) / 65_535
    assert np.abs(result["y"] - points.y).max() <= np.ptp(points.y) / 65_535
    assert (result["curve_class"] == np.minimum(points.curve_class, 127)).all()
    assert (result["matching"] == points.matching).all()


def test_the_map_of_the_page_is_that_of_the_api(client: TestClient) -> None:
    question = "cls=monogenic&final_max=0.5"
    response = _unpacked(client.get(f"/figures/curve-map?{question}").content)
    answer = client.get(f"{API}/map?{question}").json()
    assert response["index"].tolist() == answer["index"]
    assert response["matching"].tolist() == answer["matching"]
    assert response["x"] == pytest.approx(answer["x"], abs=1e-2)
    assert 0 < response["matching"].sum() < len(response["index"])


def test_a_lasso_lists_the_points_that_the_map_has_inside(client: TestClient) -> None:
    points = client.get(f"{API}/map").json()
    x, y = np.array(points["x"]), np.array(points["y"])
    (x0, x1), (y0, y1) = np.quantile(x, [0.2, 0.7]), np.quantile(y, [0.3, 0.8])
    lasso = f"{x0}:{y0},{x1}:{y0},{x1}:{y1},{x0}:{y1}"
    answer = client.get(f"{API}?lasso={lasso}&limit=200").json()
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    listed = {match["index"] for match in answer["matches"]}
    last = max(listed)
    sampled = {i for i in np.array(points["index"])[inside].tolist() if i <= last}
    assert sampled <= listed
    outside = set(np.array(points["index"])[~inside].tolist())
    assert not listed & outside


def test_a_lasso_belongs_to_the_map_it_was_drawn_on(client: TestClient) -> None:
    points = client.get(f"{API}/map").json()
    other = client.get(f"{API}/map?axis=S").json()
    assert points["curves"] != other["curves"]
    corners = "lasso=-100:-100,100:-100,100:100,-100:100"
    own = client.get(f"{API}?{corners}&lasso_of={points['curves']}")
    assert own.json()["n_matching"] == points["n_predictions"]
    question = f"{corners}&lasso_of={points['curves']}&axis=S"
    refused = client.get(f"{API}?{question}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == "lasso"
    assert "another map" in refused.json()["detail"]
    page = client.get(f"/predictions?{question}")
    assert page.status_code == 422
    assert "another map" in page.text
    href = _links(page.text, "chips")["Remove inside the lasso ✕"]
    assert set(parse_qs(urlsplit(href).query)) == {"axis"}
    assert client.get(href).status_code == 200


def test_addresses_keep_what_is_not_taken_away() -> None:
    items = non_empty_params([("a", "1"), ("b", ""), ("c", "x"), ("c", "y"), ("cursor", "9")])
    assert address("/p", items) == "/p?a=1&c=x&c=y"
    assert address("/p", items, (("c", "x"),)) == "/p?a=1&c=y"
    assert address("/p", items, ("c",), a=2) == "/p?a=2"
    assert address("/p", [("sketch", "1:2,3:4")]) == "/p?sketch=1:2,3:4"
    assert address("/p", [("text", "a&b=<")]) == "/p?text=a%26b%3D%3C"
    assert address("/p", [], ()) == "/p"


def test_chips_name_each_filter_once() -> None:
    items = [("text", "{x}"), ("drop_min", "2"), ("preset", "u"), ("corpus", "c")]
    assert [chip.text for chip in filter_chips(items)] == ["text “{x}”", "drop ≥ 2 nats"]


def test_small_curves_are_drawn_over_the_log_axis() -> None:
    assert log_shares([1, 10, 1000]) == pytest.approx([0, 1 / 3, 1])
    line = curve_drawing([1, 10, 1000], (8, 4, 0), None, 8).line
    assert line == "4.0,4.0 45.3,22.0 128.0,40.0"
