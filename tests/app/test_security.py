"""Who may ask for what."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.main import create_app
from app.web.body_limit import MAX_BODY_BYTES
from backend.settings import Settings
from backend.store.database import Store
from tests.app.conftest import local_client
from tests.app.test_error_shape import is_problem

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
OWN = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/json"}
REMOTE = ("192.0.2.7", 40_000)
TOKEN = "correct horse battery staple"


@pytest.fixture
def url(names: dict[str, Any]) -> str:
    return f"/api/v1/clusters/{names['cluster']}/annotation"


@pytest.fixture(scope="module")
def guarded(app_store: Store) -> FastAPI:
    settings = Settings(token=TOKEN, allowed_hosts="lab.example, Other.Example:8443")
    return create_app(Store(app_store.engine, settings))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:8000", "[::1]"])
def test_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "::1",
        "",
        "[::1",
        "lab.example",
        "localhost/x",
        "localhost:8/x?",
        "localhost#",
        "a@localhost",
    ],
)
def test_any_other_host_name_is_misdirected(client: TestClient, host: str) -> None:
    response = client.get("/api/v1/corpora", headers={"Host": host})
    is_problem(response, 421)
    assert response.headers["content-security-policy"] == CSP


@pytest.mark.parametrize("host", ["lab.example", "lab.example:8000", "other.example"])
def test_hosts_of_the_settings_are_answered(guarded: FastAPI, host: str) -> None:
    assert local_client(guarded).get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/corpora", "/no-such-page", "/static/x"])
def test_every_response_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_change_from_another_origin_is_refused(
    client: TestClient, url: str, headers: dict[str, str]
) -> None:
    before = client.get(url.removesuffix("/annotation")).json()["annotation"]
    is_problem(client.put(url, json={"label": "forged"}, headers=headers), 403)
    assert client.get(url.removesuffix("/annotation")).json()["annotation"] == before


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://127.0.0.1:8000"}, {"Sec-Fetch-Site": "none"}]
)
def test_a_change_from_the_same_origin_is_made(
    client: TestClient, url: str, headers: dict[str, str]
) -> None:
    assert client.put(url, json={"label": "mine"}, headers=headers).json()["label"] == "mine"


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_change_must_be_json(client: TestClient, url: str, media: str) -> None:
    headers = {**OWN, "Content-Type": media}
    is_problem(client.put(url, content=b'{"label": "x"}', headers=headers), 415)


def test_a_body_over_the_cap_is_refused_whether_announced_or_streamed(
    client: TestClient, url: str
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"note": "'
        for _ in range(MAX_BODY_BYTES // 4096 + 1):
            yield b"x" * 4096
        yield b'"}'

    is_problem(client.put(url, content=b"".join(chunks()), headers=OWN), 413)
    is_problem(client.put(url, content=chunks(), headers=OWN), 413)


def test_without_a_token_only_the_own_machine_is_answered(app: FastAPI) -> None:
    is_problem(local_client(app, client=REMOTE).get("/api/v1/corpora"), 403)


def test_with_a_token_others_and_every_change_need_it(guarded: FastAPI, url: str) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    local, remote = local_client(guarded), local_client(guarded, client=REMOTE)
    assert local.get("/api/v1/corpora").status_code == 200
    assert remote.get("/api/v1/corpora", headers=bearer).status_code == 200
    assert local.put(url, json={}, headers=OWN | bearer).status_code == 200
    for refused in (remote.get("/api/v1/corpora"), local.put(url, json={}, headers=OWN)):
        is_problem(refused, 401)
        assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_a_wrong_token_opens_nothing(guarded: FastAPI, sent: str) -> None:
    client = local_client(guarded, client=REMOTE)
    is_problem(client.get("/api/v1/corpora", headers={"Authorization": sent}), 401)


def test_a_token_excuses_no_forged_origin(guarded: FastAPI, url: str) -> None:
    headers = OWN | {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    is_problem(local_client(guarded).put(url, json={}, headers=headers), 403)
