"""The Scaling page: its state is its address, and page, figures and API agree."""

import json
import math
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

FIGURES = ("mean", "residuals", "histogram", "integrand", "under", "induction", "classes", "drops")


def api(client: TestClient, names: dict[str, Any], **request: Any) -> dict[str, Any]:
    requested = {"suite": names["suite"], "corpus": names["corpus"], **request}
    body: dict[str, Any] = client.get("/api/v1/scaling", params=requested).raise_for_status().json()
    return body


def figures(client: TestClient, names: dict[str, Any], **request: Any) -> dict[str, Any]:
    requested = {"suite": names["suite"], "corpus": names["corpus"], **request}
    body: dict[str, Any] = (
        client.get("/figures/scaling", params=requested).raise_for_status().json()
    )
    return body


@pytest.mark.parametrize("axis", ["N", "S"])
def test_every_plot_of_the_page_has_a_figure_with_data(
    client: TestClient, names: dict[str, Any], axis: str
) -> None:
    page = client.get("/scaling", params={"axis": axis}).text
    keys = re.findall(r'data-key="([a-z]+)"', page)
    assert set(keys) == set(FIGURES)
    drawn = figures(client, names, axis=axis)
    for key in keys:
        assert any(len(trace["x"]) for trace in drawn[key]["data"]), key


def test_the_page_names_the_call_that_gives_its_data(
    client: TestClient, names: dict[str, Any]
) -> None:
    points = api(client, names)["points"]
    request = {"last": int(points[-2]["x"]), "subset": "polygenic", "unit": "bits", "fit": "bnsl"}
    page = client.get("/scaling", params=request).text
    address = re.search(
        r"curl -s &#39;[^/]*//[^/]*(/api/[^&]*(?:&amp;[^&]*)*)&#39;|curl -s '[^/]*"
        r"//[^/]*(/api/[^']*)'",
        page,
    )
    assert address is not None
    path = (address[1] or address[2]).replace("&amp;", "&")
    assert "unit" not in path
    view = client.get(path).json()
    assert view["subset"] == "polygenic"
    assert view["n_predictions"] < sum(part["n_predictions"] for part in view["classes"])
    assert f'<option value="{request["last"]}" selected>' in page


def test_bits_are_nats_over_ln_2(client: TestClient, names: dict[str, Any]) -> None:
    nats, bits = (figures(client, names, unit=unit)["mean"] for unit in ("nats", "bits"))
    for a, b in zip(nats["data"][0]["y"], bits["data"][0]["y"], strict=True):
        assert b == pytest.approx(a / math.log(2))
    assert "bits" in bits["layout"]["yaxis"]["title"]["text"]


@pytest.mark.parametrize("unit", ["nats", "bits"])
def test_no_number_of_a_figure_is_named_in_another_unit(
    client: TestClient, names: dict[str, Any], unit: str
) -> None:
    other = {"nats": "bits", "bits": "nats"}[unit]
    for axis in ("N", "S"):
        drawn = figures(client, names, axis=axis, unit=unit)
        assert f"}} {unit}" in json.dumps(drawn["mean"])
        for name, figure in drawn.items():
            hovers = [trace.get("hovertemplate") or "" for trace in figure["data"]]
            assert not [hover for hover in hovers if f"}} {other}" in hover], name
    zero = [trace for trace in figures(client, names, axis="S")["under"]["data"] if 0 in trace["x"]]
    assert zero[0]["customdata"] == ["step 0"]
    assert "%" in zero[0]["hovertemplate"]


def test_residuals_are_the_same_in_table_and_figure(
    client: TestClient, names: dict[str, Any]
) -> None:
    page = client.get("/scaling").text
    table = re.findall(r'<td class="n">([−\d.]+) %</td></tr>', page)
    drawn = figures(client, names)["residuals"]["data"]
    values = {x: y for trace in drawn for x, y in zip(trace["x"], trace["y"], strict=True)}
    displayed = [float(text.replace("−", "-")) for text in table]
    assert displayed == [pytest.approx(100 * values[x], abs=0.0051) for x in sorted(values)]
    law = api(client, names)["law"]
    assert list(values.values()) == pytest.approx([math.expm1(r) for r in law["residuals"]])


def test_the_law_stands_in_the_page_as_in_the_api(
    client: TestClient, names: dict[str, Any]
) -> None:
    law = api(client, names)["law"]
    page = client.get("/scaling").text
    assert f"{law['parameters'][0]['value']:.4g}" in page
    assert figures(client, names, fit="none").keys() == set(FIGURES) - {"residuals"}
    assert api(client, names, fit="none")["fit"] is None


def test_grey_points_are_those_left_out(client: TestClient, names: dict[str, Any]) -> None:
    points = api(client, names)["points"]
    drawn = figures(client, names, last=points[-2]["x"])["mean"]["data"]
    grey = [trace for trace in drawn if trace["meta"]["role"] == "member"]
    assert [trace["x"] for trace in grey] == [[points[-1]["x"]]]


def test_empty_fields_count_as_not_given(client: TestClient) -> None:
    fields = dict.fromkeys(("suite", "corpus", "model", "first", "last", "subset"), "")
    assert client.get("/scaling", params=fields).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first", "0"),
        ("last", "nan"),
        ("last", "1e999"),
        ("fit", "spline"),
        ("subset", "cluster:x"),
        ("subset", "no-such-class"),
    ],
)
@pytest.mark.parametrize("path", ["/scaling", "/api/v1/scaling", "/figures/scaling"])
def test_values_that_mean_nothing_are_refused_by_name(
    client: TestClient, names: dict[str, Any], path: str, name: str, value: str
) -> None:
    request = {"suite": names["suite"], "corpus": names["corpus"], name: value}
    answer = client.get(path, params=request)
    assert answer.status_code == 422
    assert name in answer.text


@pytest.mark.parametrize("path", ["/scaling", "/figures/scaling"])
def test_losses_are_shown_in_nats_or_bits_only(
    client: TestClient, names: dict[str, Any], path: str
) -> None:
    request = {"suite": names["suite"], "corpus": names["corpus"], "unit": "bans"}
    assert client.get(path, params=request).status_code == 422
