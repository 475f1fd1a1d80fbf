"""Conditional requests, compression and static files."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.web.paths import static_dir
from app.web.static_files import IMMUTABLE
from tests.app.routes import documented

VOLATILE = {"/healthz", "/readyz", "/metrics"}
# An ETag would need the whole body in memory.
STREAMED = {"/api/v1/predictions/export"}


def test_every_answer_has_a_strong_etag_that_gives_a_304(
    app: FastAPI, client: TestClient, names: dict[str, Any]
) -> None:
    n_checked = 0
    for route in documented(app):
        if route.path in VOLATILE | STREAMED:
            continue
        url, query = route.url(names), route.query(names)
        first = client.get(url, params=query)
        etag = first.headers["etag"]
        assert etag.startswith('"')
        assert first.headers["cache-control"] == "no-cache"
        response = client.get(url, params=query, headers={"If-None-Match": f'"x", W/{etag}'})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
        assert client.get(url, params=query, headers={"If-None-Match": '"x"'}).content
        n_checked += 1
    assert n_checked >= 20


def test_health_is_never_cached(client: TestClient) -> None:
    for path in VOLATILE:
        response = client.get(path)
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


def test_head_gives_the_headers_of_get_and_no_body(client: TestClient) -> None:
    get, head = client.get("/api/v1/corpora"), client.head("/api/v1/corpora")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]
    missing = client.head("/api/v1/corpora/no-such-name")
    assert (missing.status_code, missing.content) == (404, b"")


def test_compressed_and_plain_bodies_have_different_etags(client: TestClient) -> None:
    plain = client.get("/api/v1/openapi.json", headers={"Accept-Encoding": "identity"})
    small = client.get("/api/v1/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert small.json() == plain.json()
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert small.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in plain.headers["vary"]


def test_arrays_are_not_compressed(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/similarities/{names['similarity']}?format=arrow"
    response = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers


@pytest.fixture
def static_file() -> str:
    files = [path for path in static_dir().rglob("*.css") if "vendor" not in path.parts]
    return files[0].relative_to(static_dir()).as_posix()


def test_static_files_revalidate_unless_their_address_is_versioned(
    client: TestClient, static_file: str
) -> None:
    plain = client.get(f"/static/{static_file}")
    assert plain.headers["cache-control"] == "no-cache"
    tag = {"If-None-Match": plain.headers["etag"]}
    assert client.get(f"/static/{static_file}", headers=tag).status_code == 304
    versioned = client.get(f"/static/{static_file}?v=0123abcd")
    assert versioned.headers["cache-control"] == IMMUTABLE
    assert client.get("/static/none?v=1").headers["cache-control"] == "no-store"
