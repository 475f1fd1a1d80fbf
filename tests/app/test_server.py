"""The application behind a real server, which checks what an in-process client does not."""

import socket
from collections.abc import Iterator

import httpx2
import pytest

from app.main import create_app
from app.web.body_limit import MAX_BODY_BYTES
from backend.store.database import Store
from tests.app.serving import served

OWN = {"Sec-Fetch-Site": "none", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def http(app_store: Store) -> Iterator[httpx2.Client]:
    with served(create_app(app_store)) as address, httpx2.Client(base_url=address) as client:
        yield client


@pytest.mark.parametrize("path", ["/api/v1/corpora", "/", "/static/none", "/healthz"])
def test_head_is_answered_on_a_connection_that_goes_on(http: httpx2.Client, path: str) -> None:
    get, head = http.get(path), http.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert http.get(path).content


def test_a_304_is_answered_on_a_connection_that_goes_on(http: httpx2.Client) -> None:
    etag = http.get("/api/v1/corpora").headers["etag"]
    repeated = http.get("/api/v1/corpora", headers={"If-None-Match": etag})
    assert (repeated.status_code, repeated.content) == (304, b"")
    assert http.get("/api/v1/corpora").headers["etag"] == etag


def test_a_streamed_body_over_the_cap_is_refused(http: httpx2.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(2 * MAX_BODY_BYTES // 65_536):
            yield b" " * 65_536

    url = "/api/v1/clusters/1/annotation"
    assert http.put(url, content=chunks(), headers=OWN).status_code == 413
    assert http.get("/healthz").status_code == 200


def test_a_request_without_a_host_name_is_refused(http: httpx2.Client) -> None:
    assert http.base_url.port is not None
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=10) as raw:
        raw.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 400")
