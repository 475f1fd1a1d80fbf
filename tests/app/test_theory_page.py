"""The Theory page: its state is its address, and page, figures and API agree."""

import math
import re
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.figures.theory import log_axis
from backend.scaling.theory import BOUNDS
from tests.app.experiment_pages import (
    MAX_PAGE_BYTES,
    count_labels_inside_axes,
    gzipped_page,
    linked_terms,
)

FIGURES = {"law-N", "law-D", "law-S", "slopes", "frequencies", "exponents"}
PARAMS = {"alpha": "0.85", "capacity": "1000000", "m": "30", "a": "1.5", "n": "4"}
EDGES: tuple[dict[str, Any], ...] = (
    {},
    PARAMS,
    {"alpha": 0.05, "m": 10, "a": 4.9, "n": 10},
    {"alpha": 2, "m": 100_000, "n": 1, "capacity": 1e9, "first_steps": 1e9},
    {"n": 100_000},
)


def figures(client: TestClient, params: dict[str, Any]) -> dict[str, Any]:
    answer = client.get("/figures/theory", params=params).raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def numbers(value: Any) -> list[float]:
    """Every number in a JSON document."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [number for item in items for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("params", EDGES)
def test_every_plot_of_the_page_has_a_figure_with_data(
    client: TestClient, params: dict[str, Any]
) -> None:
    page = client.get("/theory", params=params).raise_for_status().text
    keys = re.findall(r'data-key="([A-Za-z-]+)"', page)
    drawn = figures(client, params)
    assert set(keys) == set(drawn) == FIGURES
    for key in keys:
        assert drawn[key]["data"]
        for trace in drawn[key]["data"]:
            assert len(trace["x"]) == len(trace["y"]) > 0, (key, trace["name"])
        ends = [drawn[key]["layout"][axis]["range"] for axis in ("xaxis", "yaxis")]
        assert all(low < high for low, high in ends), key
    assert all(map(math.isfinite, numbers(drawn)))


@pytest.mark.parametrize("params", EDGES)
def test_labels_are_inside_their_axes(client: TestClient, params: dict[str, Any]) -> None:
    for key, figure in figures(client, params).items():
        assert count_labels_inside_axes(figure) > 0, key


def test_learned_quanta_are_drawn_apart_from_others(client: TestClient) -> None:
    drawn = figures(client, {"n": 7, "m": 50})
    learned, later = drawn["frequencies"]["data"][:2]
    assert learned["x"] == list(range(1, 8))
    assert later["x"][0] == 8
    for axis in "NDS":
        traces = {trace["name"]: trace for trace in drawn[f"law-{axis}"]["data"]}
        coloured = traces["sum over 50 quanta"]
        assert coloured["customdata"][-1] == "7 learned"
        assert coloured["marker"]["symbol"][-1] == "diamond"
        assert coloured["line"]["shape"] == "hv"
        assert traces["sum over 50 quanta, later"]["y"][-1] is None  # no place for 0 on a log axis
        assert traces["limit"]["line"]["dash"] == "dash"


def test_log_axes_have_at_most_eight_ticks() -> None:
    for low, high in ((1, 3), (5e3, 5e6), (1e-15, 1.0), (50, 1e24)):
        axis = log_axis("x", low, high)
        n_ticks = math.log10(high / low) / (axis["dtick"] if axis["dtick"] != "D2" else 0.3)
        assert n_ticks <= 8


def test_the_page_works_without_javascript(client: TestClient) -> None:
    page = client.get("/theory", params=PARAMS).text
    for name, value in PARAMS.items():
        assert re.search(rf'name="{name}" value="{value}"', page), name
    view = client.get("/api/v1/theory/laws", params=PARAMS).json()
    for law in view["laws"]:
        assert f"{law['exponent']:.3f}" in page
        assert f"<b>{law['finite_exponent']:.3f}</b>" in page
    assert "steeper than in the limit" in page
    assert "<button>Show</button>" in page
    assert len(re.findall(r'<label for="control-', page)) == len(BOUNDS)


def test_a_sum_can_be_shallower_than_its_limit(client: TestClient) -> None:
    assert "shallower than in the limit" in client.get("/theory?m=100000").text


def test_the_page_names_the_call_that_gives_its_data(client: TestClient) -> None:
    page = client.get("/theory", params=PARAMS | {"b": "5"}).text
    (path,) = re.findall(r'data-api="([^"]*)"', page)
    assert "b=" not in path, "defaults are left out"
    view = client.get(unescape(path)).json()
    assert view["request"]["alpha"] == 0.85
    assert view["request"]["m"] == 30
    assert client.get("/theory").text.count('data-api="/api/v1/theory/laws"') == 1


def test_empty_fields_count_as_not_given(client: TestClient) -> None:
    empty = dict.fromkeys(BOUNDS, "")
    assert client.get("/theory", params=empty).status_code == 200
    with_empty, default = (
        client.get("/api/v1/theory/laws", params=params).json() for params in (empty, {})
    )
    assert with_empty == default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", "0"),
        ("alpha", "nan"),
        ("alpha", "1e999"),
        ("m", "9"),
        ("m", "1" + "0" * 400),
        ("n", "0"),
        ("n", "1.5"),
        ("capacity", "<script>alert(1)</script>"),
        ("a", "5"),
        ("b", "0"),
    ],
)
@pytest.mark.parametrize("path", ["/theory", "/api/v1/theory/laws", "/figures/theory"])
def test_invalid_values_are_refused_by_name(
    client: TestClient, path: str, name: str, value: str
) -> None:
    answer = client.get(path, params={name: value})
    assert answer.status_code == 422
    assert name in answer.text
    if path == "/theory":
        assert "<script>alert" not in answer.text
        assert '<a class="button" href="/theory">Reset this page</a>' in answer.text


def test_the_api_returns_finite_numbers(client: TestClient) -> None:
    for params in EDGES:
        view = client.get("/api/v1/theory/laws", params=params).raise_for_status().json()
        assert all(map(math.isfinite, numbers(view)))
    exponents = client.get("/api/v1/theory/exponents").json()
    assert {"source": "Kaplan et al.", "alpha_n": 0.076, "alpha_d": 0.095} in exponents["pairs"]
    assert [line["formula"] for line in exponents["lines"]] == ["α_D = α_N/(1 + α_N)", "α_D = α_N"]


def test_bounds_are_documented(client: TestClient) -> None:
    document = client.get("/api/v1/openapi.json").json()
    parameters = document["paths"]["/api/v1/theory/laws"]["get"]["parameters"]
    for parameter in parameters:
        kind = parameter["schema"]["anyOf"][0]
        assert parameter["description"]
        assert kind["minimum"] == BOUNDS[parameter["name"]].minimum
        assert kind.get("maximum", BOUNDS["a"].maximum) == BOUNDS[parameter["name"]].maximum


def test_links_to_experiments_and_glossary_resolve(client: TestClient) -> None:
    page = client.get("/theory").text
    tabs = page.split('<nav class="switch tabs" aria-label="Experiments">')[1].split("</nav>")[0]
    links = re.findall(r'href="([^"]*)"', tabs)
    assert links == ["/grokking", "/omnigrok", "/modular-addition", "/parity", "/theory"]
    assert all(client.get(link).status_code == 200 for link in links)
    assert '<a href="/theory" aria-current="page">Theory</a>' in tabs
    assert linked_terms(client, page) >= {"quantization-model", "finite-slope"}


def test_the_page_is_small(client: TestClient) -> None:
    assert len(gzipped_page(client, "/theory")) <= MAX_PAGE_BYTES


@pytest.mark.parametrize("path", ["/theory", "/api/v1/theory/laws", "/figures/theory"])
def test_the_former_name_of_tau_is_accepted(client: TestClient, path: str) -> None:
    former, present, default = (
        client.get(path, params=params).raise_for_status().text
        for params in ({"threshold": 7}, {"tau": 7}, {})
    )
    assert former == present != default
