"""One error shape on every route, and no input that the server answers with its own failure."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from backend.errors import InvalidInputError, NotFoundError, NotReadyError, StoreError
from tests.app.routes import MAX_INTEGER, documented, impossible

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "remedy"}
# Integers are unknown if they are this large.
UNKNOWN = {
    "corpus": "no-such-name",
    "suite": "no-such-name",
    "array": "nothing",
    "experiment": "0" * 16,
    "other": "0" * 16,
    "run": "0" * 16,
}


def is_problem(response: Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document.keys() >= MEMBERS
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert all(document[name] for name in MEMBERS)
    return document


def test_an_unknown_id_is_a_404_on_every_route(
    app: FastAPI, client: TestClient, names: dict[str, Any]
) -> None:
    n_checked = 0
    for route in documented(app):
        for parameter in route.parameters:
            if parameter["in"] != "path":
                continue
            name = parameter["name"]
            unknown = UNKNOWN.get(name, MAX_INTEGER)
            url = route.url(names, **{name: unknown})
            document = is_problem(client.get(url, params=route.query(names)), 404)
            assert document["instance"] == url
            n_checked += 1
    assert n_checked >= 15


def test_a_value_out_of_bounds_is_a_422_that_names_its_parameter(
    app: FastAPI, client: TestClient, names: dict[str, Any]
) -> None:
    n_checked = 0
    for route in documented(app):
        for parameter in route.parameters:
            value = impossible(parameter["schema"])
            if value is None:
                continue
            name = parameter["name"]
            sent = "bad name" if value == "\x00" and parameter["in"] == "path" else value
            changes = {name: sent}
            response = client.get(
                route.url(names, **(changes if parameter["in"] == "path" else {})),
                params=route.query(names, **(changes if parameter["in"] == "query" else {})),
            )
            (error,) = is_problem(response, 422)["errors"]
            assert error["parameter"] == name, route.path
            assert error["value"] == sent
            n_checked += 1
    assert n_checked >= 50


def test_every_integer_of_a_request_is_bounded_on_both_sides(app: FastAPI) -> None:
    n_checked = 0
    for route in documented(app):
        for parameter in route.parameters:
            kinds = parameter["schema"].get("anyOf", [parameter["schema"]])
            for kind in (kind for kind in kinds if kind.get("type") == "integer"):
                assert 0 <= kind["minimum"] <= kind["maximum"] <= MAX_INTEGER, parameter
                n_checked += 1
    assert n_checked >= 20


@pytest.mark.parametrize("end", ["minimum", "maximum"])
def test_documented_bounds_are_themselves_accepted(
    app: FastAPI, client: TestClient, names: dict[str, Any], end: str
) -> None:
    n_checked = 0
    for route in documented(app):
        for parameter in route.parameters:
            bounds = {**parameter["schema"], **parameter["schema"].get("anyOf", [{}])[0]}
            name = parameter["name"]
            # JSON has a lower cap on rows than Arrow; the last first row depends on the data.
            if parameter["in"] == "path" or end not in bounds or name == "first":
                continue
            arrow = {"format": "arrow"} if route.path.endswith("/losses") else {}
            value = float(bounds[end])
            sent = int(value) if value.is_integer() else value
            query = route.query(names, **arrow, **{name: sent})
            response = client.get(route.url(names), params=query)
            assert response.status_code in {200, 404}, (route.path, name, response.text)
            n_checked += 1
    assert n_checked >= 20


def test_a_required_parameter_that_is_missing_is_named(client: TestClient) -> None:
    document = is_problem(client.get("/api/v1/scaling"), 422)
    assert {error["parameter"] for error in document["errors"]} == {"suite", "corpus"}


def test_an_unknown_address_is_a_problem_under_api_and_a_page_elsewhere(
    client: TestClient,
) -> None:
    is_problem(client.get("/api/v1/no-such-route"), 404)
    page = client.get("/no-such-page")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-request-id"] in page.text


def test_a_wrong_method_names_the_right_ones(client: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/json"}
    response = client.request("DELETE", "/api/v1/corpora", headers=headers)
    is_problem(response, 405)
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("no corpus", "add one"), 404),
        (InvalidInputError("bad value", "change it", parameter="limit"), 422),
        (NotReadyError("not finished", "wait"), 409),
        (StoreError("damaged", "restore it"), 503),
        (OperationalError("SELECT secret", {}, Exception("locked")), 503),
        (RuntimeError("secret"), 500),
    ],
)
def test_every_kind_of_error_has_one_status_and_shows_no_internals(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def failing(_store: object) -> None:
        raise error

    monkeypatch.setattr("backend.corpora.corpora.list_corpora", failing)
    response = client.get("/api/v1/corpora")
    document = is_problem(response, status)
    assert "secret" not in response.text
    assert "default-src 'self'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    if status == 422:
        assert document["errors"] == [{"parameter": "limit", "problem": "bad value", "value": None}]


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(
            ["sort", "descending", "min_size", "max_loss", "answer", "cursor", "limit"]
        ),
        TEXT | st.integers().map(str) | st.floats().map(str),
        max_size=3,
    )
)
def test_no_query_makes_the_server_fail(
    client: TestClient, names: dict[str, Any], query: dict[str, str]
) -> None:
    response = client.get(f"/api/v1/clusterings/{names['clustering']}/clusters", params=query)
    assert response.status_code in {200, 422}


@pytest.mark.parametrize(
    "path",
    ["/static/%00", "/static/..%2f..%2fpyproject.toml", "/api/v1/corpora/%ff", "/%ed%a0%80"],
)
def test_no_path_makes_the_server_fail_or_leaves_its_folder(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in {404, 422}
