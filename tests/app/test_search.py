"""Token search over HTTP: addresses and bodies ask the same, and bad ones are named."""

from io import BytesIO
from typing import Any

import pyarrow as pa
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.arrow import MEDIA_TYPE
from app.main import create_app
from app.requests.search import CurveClass, SearchBody
from backend.store.database import Store
from compute.curve_classes import CURVE_CLASSES
from tests.app.conftest import local_client
from tests.app.test_error_shape import is_problem

URL = "/api/v1/predictions"
OWN = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}


def answer(client: TestClient, **query: Any) -> Any:
    response = client.get(URL, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def posted(client: TestClient, body: object) -> Any:
    response = client.post(f"{URL}/search", json=body, headers=OWN)
    assert response.status_code == 200, response.text
    return response.json()


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"limit": 3, "axis": "S"}, {"limit": 3, "axis": "S"}),
    (
        {"sketch": "2e4:6,1e6:0.5", "inv": "scale,level"},
        {"shape": {"sketch": [[2e4, 6], [1e6, 0.5]]}, "invariances": ["level", "scale"]},
    ),
    ({"preset": "step", "at": 2}, {"shape": {"preset": "step", "at": 2}}),
    ({"preset": "u", "inv": "none"}, {"shape": {"preset": "u"}, "invariances": []}),
    (
        {"like": 5, "inv": ["shift", "level"]},
        {"shape": {"example": 5}, "invariances": ["shift", "level"]},
    ),
    (
        {"cls": ["monogenic", "hump"], "drop_min": 2, "final_max": 1},
        {"filters": {"cls": ["monogenic", "hump"], "drop_min": 2, "final_max": 1}},
    ),
    ({"only_largest": 2, "right": 0.5}, {"filters": {"only_largest": 2, "right": 0.5}}),
    ({"sort": "drop", "order": "desc"}, {"sort": "drop", "order": "desc"}),
    (
        {"token": "#5", "published": "monogenic"},
        {"filters": {"token": "#5", "published": "monogenic"}},
    ),
    ({"lasso": "0:0,9:0,9:9"}, {"filters": {"lasso": "0:0,9:0,9:9"}}),
]


@pytest.mark.parametrize(("query", "body"), SAME)
def test_an_address_and_a_body_ask_the_same(
    client: TestClient, query: dict[str, Any], body: dict[str, Any]
) -> None:
    result = answer(client, **query)
    assert result == posted(client, body)
    assert result["n_matching"] >= len(result["matches"])


def test_pages_follow_each_other(client: TestClient) -> None:
    whole = answer(client, preset="late", limit=20)["matches"]
    first = answer(client, preset="late", limit=8)
    second = answer(client, preset="late", limit=12, cursor=first["next_cursor"])
    assert first["matches"] + second["matches"] == whole


def test_empty_fields_count_as_not_given(client: TestClient) -> None:
    names = (
        *("corpus", "suite", "axis", "model", "sketch", "preset", "at", "like", "inv", "text"),
        *("regex", "token", "token_pattern", "source", "document", "cls", "drop_min", "final_max"),
        *("published", "only_largest", "right", "cluster", "lasso", "sort", "order", "cursor"),
    )
    assert answer(client, **dict.fromkeys(names, "")) == answer(client)


def test_classes_of_the_address_are_those_of_curves() -> None:
    assert CurveClass.__args__ == CURVE_CLASSES  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"sketch": "1e6:2"}, "sketch"),
        ({"sketch": "1e6"}, "sketch"),
        ({"sketch": "1e6:1:2,1e7:2"}, "sketch"),
        ({"sketch": "0:2,1e6:1"}, "sketch"),
        ({"sketch": "1e6:2,1e999:1"}, "sketch"),
        ({"sketch": ",".join(["1:1"] * 17)}, "sketch"),
        ({"sketch": "<script>"}, "sketch"),
        ({"preset": "step", "like": 3}, "like"),
        ({"preset": "zigzag"}, "preset"),
        ({"preset": "step", "at": 0}, "at"),
        ({"preset": "step", "at": 200}, "at"),
        ({"inv": "level,size"}, "inv.1"),
        ({"cls": "monogenc"}, "cls.0"),
        ({"drop_min": "nan"}, "drop_min"),
        ({"drop_min": 3, "drop_max": 2}, "drop_min"),
        ({"only_largest": 0}, "only_largest"),
        ({"right": -1}, "right"),
        ({"lasso": "0:0,1:1"}, "lasso"),
        ({"sort": "distance"}, "sort"),
        ({"preset": "step", "order": "desc"}, "order"),
        ({"cursor": "nothing"}, "cursor"),
        ({"limit": 201}, "limit"),
        ({"regex": "("}, "regex"),
    ],
)
def test_what_cannot_be_asked_is_a_422_that_names_its_parameter(
    client: TestClient, query: dict[str, Any], parameter: str
) -> None:
    document = is_problem(client.get(URL, params=query), 422)
    assert [error["parameter"] for error in document["errors"]] == [parameter]


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"shape": {}}, "shape"),
        ({"shape": {"preset": "u", "example": 1}}, "shape"),
        ({"shape": {"sketch": [[1, 2]]}}, "shape.sketch"),
        ({"shape": {"sketch": [[1, 2], [3]]}}, "shape.sketch.1"),
        ({"shape": {"example": -1}}, "shape.example"),
        ({"invariances": ["none"]}, "invariances.0"),
        ({"filters": {"text": "nul\x00"}}, "filters.text"),
        ({"filters": {"txt": "a"}}, "filters.txt"),
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"filters": {"drop_min": True}}, "filters"),
        ({"filters": {"drop_min": "1"}}, "filters"),
        ({"shape": {"sketch": [[1000.0, True], [2000.0, 1.0]]}}, "shape"),
        ({"no": 1}, "no"),
        ([], "body"),
    ],
)
def test_a_body_out_of_bounds_is_a_422_that_names_its_part(
    client: TestClient, body: object, parameter: str
) -> None:
    response = client.post(f"{URL}/search", json=body, headers=OWN)
    assert is_problem(response, 422)["errors"][0]["parameter"].startswith(parameter)


@pytest.mark.parametrize(
    "query",
    [
        {"corpus": "none"},
        {"suite": "none"},
        {"like": 10**9},
        {"cluster": 10**9},
        {"document": 10**9},
    ],
)
def test_unknown_names_are_404(client: TestClient, query: dict[str, Any]) -> None:
    is_problem(client.get(URL, params=query), 404)


def test_a_store_without_curves_is_not_ready(store: Store) -> None:
    with local_client(create_app(store)) as empty:
        for path in (URL, f"{URL}/map"):
            assert "quanta classify" in is_problem(empty.get(path), 409)["remedy"]


def test_a_search_by_body_is_refused_to_other_sites(client: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    is_problem(client.post(f"{URL}/search", json={}, headers=headers), 403)


def test_the_map_is_the_same_in_json_and_arrow(client: TestClient) -> None:
    query = {"cls": "monogenic"}
    listed = client.get(f"{URL}/map", params=query).json()
    response = client.get(f"{URL}/map", params=query, headers={"Accept": MEDIA_TYPE})
    assert response.headers["content-type"] == MEDIA_TYPE
    table = pa.ipc.open_stream(BytesIO(response.content)).read_all()
    for name in ("index", "x", "y", "curve_class", "matching"):
        assert table[name].to_pylist() == listed[name]
    assert table.schema.field("x").type == pa.float32()
    assert table.schema.field("curve_class").type == pa.uint8()
    names = [listed["classes"][code] for code in listed["curve_class"]]
    assert [name == "monogenic" for name in names] == listed["matching"]
    assert sum(listed["matching"]) == listed["n_matching"]
    assert str(listed["n_matching"]).encode() in table.schema.metadata[b"about"]


def test_the_examples_of_the_document_work(app: FastAPI, client: TestClient) -> None:
    examples = app.openapi()["components"]["schemas"]["SearchBody"]["examples"]
    assert examples == SearchBody.model_config["json_schema_extra"]["examples"]  # type: ignore
    for example in examples:
        posted(client, example)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = ["sketch", "preset", "at", "like", "inv", "cls", "drop_min", "right", "lasso", "cursor"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*NAMES, "sort", "document", "regex", "token", "only_largest"]),
        TEXT | st.integers().map(str) | st.floats().map(str) | st.just("1e4:3,1e6:nan"),
        max_size=3,
    )
)
def test_no_query_makes_the_server_fail(client: TestClient, query: dict[str, str]) -> None:
    assert client.get(URL, params=query).status_code in {200, 404, 422}
