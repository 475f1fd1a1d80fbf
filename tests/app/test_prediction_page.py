"""A token's page: its state is its address, and its figures are what the address asks for."""

import html
import math
import re
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.figures import base
from app.figures.prediction import line_nats

INDEX = 123


@pytest.fixture
def view(client: TestClient, names: dict[str, Any]) -> dict[str, Any]:
    path = f"/api/v1/corpora/{names['corpus']}/predictions/{INDEX}"
    body: dict[str, Any] = client.get(path).json()
    return body


def _curve(view: dict[str, Any], axis: str) -> dict[str, Any]:
    return next(curve for curve in view["curves"] if curve["axis"] == axis)


def _figure(client: TestClient, view: dict[str, Any], axis: str, **request: Any) -> dict[str, Any]:
    path = f"/figures/predictions/{view['corpus']}/{INDEX}"
    response = client.get(path, params=request)
    assert response.status_code == 200, response.text
    figure: dict[str, Any] = response.json()[f"curve-{axis}"]
    return figure


def _named(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(trace for trace in figure["data"] if trace["name"] == name)


@pytest.mark.parametrize(
    ("y", "displayed"),
    [
        ("nats", lambda nats: nats),
        ("bits", lambda nats: nats / math.log(2)),
        ("p", lambda nats: math.exp(-nats)),
    ],
)
@pytest.mark.parametrize("diff", ["", "1"])
def test_values_are_in_the_unit_asked_for(
    client: TestClient, view: dict[str, Any], y: str, displayed: Any, diff: str
) -> None:
    curve = _curve(view, "N")
    figure = _figure(client, view, "N", y=y, diff=diff or "0")
    expected = [displayed(nats) for nats in curve["loss_nats"]]
    if diff:
        pairs = zip(expected, curve["mean_nats"], strict=True)
        expected = [a - displayed(mean) for a, mean in pairs]
    trace = _named(figure, "this prediction")
    assert trace["y"] == pytest.approx(expected)
    assert ("nats" in trace["hovertemplate"]) == (y == "nats")
    assert ("less the corpus mean" in figure["layout"]["yaxis"]["title"]["text"]) == bool(diff)
    assert any(trace["name"] == "corpus mean" for trace in figure["data"]) == (not diff)


def test_a_log_scale_has_no_place_for_zero(client: TestClient, view: dict[str, Any]) -> None:
    figure = _figure(client, view, "S", log="1")
    assert figure["layout"]["yaxis"]["type"] == "log"
    values = [value for trace in figure["data"] for value in trace["y"] if value is not None]
    assert min(values) > 0
    assert "type" not in _figure(client, view, "S", log="1", diff="1")["layout"]["yaxis"]


def test_the_line_is_the_one_that_is_scored(client: TestClient, view: dict[str, Any]) -> None:
    curve = _curve(view, "N")
    line = line_nats(curve["x"], curve["loss_nats"])
    slope = (line[-1] - line[0]) / math.log(curve["x"][-1] / curve["x"][0])
    assert slope == pytest.approx(curve["scores"]["slope"], rel=2e-3, abs=1e-3)
    losses = np.array(curve["loss_nats"])
    left = ((losses - line) ** 2).sum() / ((losses - losses.mean()) ** 2).sum()
    assert 1 - left == pytest.approx(curve["scores"]["r_squared"], abs=2e-3)
    drawn = _named(_figure(client, view, "N", fit="1"), "line of this prediction")
    assert drawn["y"] == pytest.approx(line)


def test_models_are_drawn_as_chosen(
    client: TestClient, view: dict[str, Any], names: dict[str, Any]
) -> None:
    models = [curve["model"] for curve in view["curves"] if curve["axis"] == "S"]
    figure = _figure(client, view, "S", models=models[0])
    assert not {trace["name"] for trace in figure["data"]} & set(models[1:])
    path = f"/predictions/{names['corpus']}/{INDEX}"
    refused = client.get(path, params={"models": "no-such"})
    assert refused.status_code == 422
    assert "no-such has no curve over steps" in refused.text
    assert 'id="curve-S"' not in client.get(path, params={"x": "size"}).text


def test_every_choice_is_a_link_that_keeps_the_others(
    client: TestClient, names: dict[str, Any]
) -> None:
    params = "ctx=40&y=bits&fit=1"
    path = f"/predictions/{names['corpus']}/{INDEX}"
    page = client.get(f"{path}?{params}").text
    (choices,) = re.findall(r'<nav class="switch".*?</nav>', page, re.DOTALL)
    links = [html.unescape(href) for href in re.findall(r'href="([^"]*)"', choices)]
    assert len(links) >= 6
    for href in links:
        assert client.get(href).status_code == 200, href
        assert "ctx=40" in href
        assert ("y=bits" in href) + ("fit=1" in href) >= 1
    following = re.findall(r'rel="next" href="([^"]*)"', page)
    assert following
    for href in following:
        assert set(html.unescape(href).split("?")[1].split("&")) == set(params.split("&"))


def test_the_nearest_curves_are_those_of_the_search(
    client: TestClient, names: dict[str, Any]
) -> None:
    page = client.get(f"/predictions/{names['corpus']}/{INDEX}").text
    part = page.split('id="nearest-title"')[1].split("</table>")[0]
    listed = [int(i) for i in re.findall(r'href="/predictions/[^/]+/(\d+)', part)]
    body = client.get("/api/v1/predictions", params={"like": INDEX, "limit": 11}).json()
    assert listed == [m["index"] for m in body["matches"] if m["index"] != INDEX][:10]


@pytest.mark.parametrize("params", ["y=bans", "x=depth", "ctx=0", "models=<b>", "diff=perhaps"])
def test_values_that_mean_nothing_are_refused_by_name(
    client: TestClient, names: dict[str, Any], params: str
) -> None:
    answer = client.get(f"/predictions/{names['corpus']}/{INDEX}?{params}")
    assert answer.status_code == 422
    assert params.partition("=")[0] in answer.text


def test_figures_that_are_not_checked_are_the_same(
    client: TestClient, view: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base.IS_VALIDATED
    checked = [_figure(client, view, axis, x="both") for axis in ("N", "S")]
    monkeypatch.setattr(base, "IS_VALIDATED", False)
    assert [_figure(client, view, axis, x="both") for axis in ("N", "S")] == checked
