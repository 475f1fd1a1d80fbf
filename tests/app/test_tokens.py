"""Scopes, and what tokens open: every route that changes something, every kind of bad token."""

import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from app.main import create_app
from app.web import scopes
from app.web.login_attempts import LoginAttempts
from backend.access import credentials
from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.store.database import Store
from tests.app.conftest import local_client
from tests.app.doors import (
    OWN,
    REMOTE,
    SETTINGS_TOKEN,
    Door,
    bearer,
    door,
    filled,
    is_form,
    mutating_routes,
)
from tests.app.test_error_shape import is_problem

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Allowed, whatever comes of an empty body and a thing that is not there.
LET_IN = {200, 202, 303, 404, 409, 422}
ALL: tuple[access_tokens.Scope, ...] = ("read", "run", "admin")
NEEDING = {route: scope for route, scope in scopes.MUTATIONS.items() if scope is not None}
BELOW = [
    (*route, held)
    for route, needed in NEEDING.items()
    for held in ALL
    if not access_tokens.covers(held, needed)
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Protected by stored tokens alone."""
    with door(tmp_path_factory.mktemp("lab") / "data", scopes=ALL) as opened:
        yield opened


@pytest.fixture(scope="module")
def by_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Protected by QUANTA_TOKEN."""
    with door(tmp_path_factory.mktemp("settings") / "data", token=SETTINGS_TOKEN) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_attempts_before(lab: Door, by_settings: Door) -> None:
    for opened in (lab, by_settings):
        opened.app.state.attempts = LoginAttempts()


def headers(path: str) -> dict[str, str]:
    return OWN | (FORM if is_form(path) else JSON)


def content(path: str) -> bytes:
    return b"" if is_form(path) else b"{}"


def test_every_mutating_route_has_its_scope_in_the_table(app: FastAPI) -> None:
    routes = mutating_routes(app)
    assert {("POST", "/login"), ("PUT", "/api/v1/clusters/{cluster}/annotation")} <= set(routes)
    missing = [route for route in routes if route not in scopes.MUTATIONS]
    assert missing == [], f"add them to app.web.scopes.MUTATIONS: {missing}"
    gone = set(scopes.MUTATIONS) - set(routes)
    assert gone == set(), f"take them out of app.web.scopes.MUTATIONS: {gone}"


@pytest.mark.parametrize(("method", "path"), scopes.MUTATIONS)
def test_a_request_gets_the_scope_of_its_own_route(method: str, path: str) -> None:
    assert scopes.needed_scope(method, filled(path)) == scopes.MUTATIONS[method, path]


@pytest.mark.parametrize("path", ["/api/v1/new", "/api/v1/jobs/", "/api/v1/jobs/1/x", "/login/x"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_what_the_table_does_not_name_is_for_administrators(method: str, path: str) -> None:
    assert scopes.needed_scope(method, path) == "admin"


@pytest.mark.parametrize(("method", "path"), NEEDING)
def test_a_change_without_a_token_is_a_401(lab: Door, method: str, path: str) -> None:
    places = [lab.client()]
    if NEEDING[method, path] != "read":
        places.append(lab.client(client=("127.0.0.1", 50_000)))
    for client in places:
        answer = client.request(method, filled(path), content=content(path), headers=headers(path))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        if is_form(path):
            assert 'href="/login' in answer.text
        else:
            is_problem(answer, 401)


@pytest.mark.parametrize(("method", "path", "held"), BELOW)
def test_a_change_with_too_small_a_scope_is_a_403(
    lab: Door, method: str, path: str, held: str
) -> None:
    sent = headers(path) | bearer(lab.tokens[held])
    for place in (REMOTE, ("127.0.0.1", 50_000)):
        client = lab.client(client=place)
        answer = client.request(method, filled(path), content=content(path), headers=sent)
        assert answer.status_code == 403
        assert f"scope {NEEDING[method, path]}" in answer.text


@pytest.mark.parametrize(("method", "path"), NEEDING)
def test_a_change_with_its_scope_is_let_in(lab: Door, method: str, path: str) -> None:
    sent = headers(path) | bearer(lab.tokens[str(NEEDING[method, path])])
    answer = lab.client().request(method, filled(path), content=content(path), headers=sent)
    assert answer.status_code in LET_IN, answer.text


@pytest.mark.parametrize(("method", "path"), scopes.MUTATIONS)
def test_no_token_excuses_another_origin(lab: Door, method: str, path: str) -> None:
    for forged in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}, {}):
        kind = FORM if is_form(path) else JSON
        answer = lab.client().request(
            method, filled(path), headers={**kind, **forged, **bearer(lab.tokens["admin"])}
        )
        assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path"), scopes.MUTATIONS)
def test_reading_an_address_that_changes_changes_nothing(lab: Door, method: str, path: str) -> None:
    client = lab.logged_in(lab.tokens["admin"])
    for read in ("GET", "HEAD"):
        answer = client.request(read, filled(path), params={"token": "x", "csrf": "x"})
        assert answer.status_code in {200, 404, 405, 422}
        assert "set-cookie" not in answer.headers
    assert client.get("/api/v1/corpora").status_code == 200
    assert client.get("/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("host", ["localhost/static/?", "localhost/login?", "localhost:1/login#"])
def test_no_host_header_makes_one_path_look_like_another(lab: Door, host: str) -> None:
    sent = {"Host": host, "Origin": f"http://{host}"}
    client = lab.client()
    assert client.get("/api/v1/corpora", headers=sent).status_code == 421
    assert client.put("/api/v1/clusters/1/annotation", json={}, headers=sent).status_code == 421


def test_what_is_served_to_everybody_is_only_read(lab: Door) -> None:
    assert lab.client().post("/static/app.css", json={}, headers=OWN).status_code == 401
    for path in (
        "/static/../api/v1/corpora",
        "/static/%2e%2e/api/v1/corpora",
        "/loginx",
        "/login/",
    ):
        assert lab.client().get(path).status_code in {401, 404}


@pytest.mark.parametrize("scope", ALL)
def test_every_scope_reads(lab: Door, scope: str) -> None:
    client = lab.client(headers=bearer(lab.tokens[scope]))
    for path in ("/", "/api/v1/corpora", "/healthz", "/metrics", "/jobs/none"):
        assert client.get(path).status_code in {200, 404}


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1/corpora", "/healthz", "/metrics", "/x"])
def test_others_read_nothing_without_a_token(lab: Door, path: str) -> None:
    assert lab.client().get(path).status_code == 401


def test_this_machine_reads_without_a_token(lab: Door) -> None:
    client = lab.client(client=("127.0.0.1", 50_000))
    for path in ("/", "/api/v1/corpora", "/healthz"):
        assert client.get(path).status_code == 200


def test_the_login_page_and_its_looks_are_for_everybody(lab: Door) -> None:
    page = lab.client().get("/login")
    assert page.status_code == 200
    for path in ("/static/app.css", "/static/js/main.js"):
        assert lab.client().get(path).status_code == 200


def test_stored_tokens_alone_protect_and_the_token_of_the_settings_does(
    lab: Door, by_settings: Door
) -> None:
    is_problem(lab.client(headers=bearer(SETTINGS_TOKEN)).get("/api/v1/corpora"), 401)
    client = by_settings.client(headers=bearer(SETTINGS_TOKEN))
    assert client.get("/api/v1/corpora").status_code == 200
    answer = client.put("/api/v1/clusters/1/annotation", json={}, headers=OWN)
    assert answer.status_code == 404


BAD = {
    "nothing": "",
    "garbage": "qx_zzz",
    "right form, unknown": f"qx_{'0' * 12}_{'A' * 43}",
    "over-long": "qx_" + "a" * 5000,
    "not ASCII": "qx_\xe9\xff",
    "a session's prefix": f"qs_{'0' * 12}_{'A' * 43}",
    "a prefix of the right one": SETTINGS_TOKEN[:-1],
    "more than the right one": SETTINGS_TOKEN + "x",
}


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD.keys())
def test_a_bad_token_opens_nothing(lab: Door, by_settings: Door, sent: str) -> None:
    for opened in (lab, by_settings):
        header = {"Authorization": f"Bearer {sent}".encode("latin-1")}
        answer = opened.client().get("/api/v1/corpora", headers=header)
        is_problem(answer, 401)
        assert not sent or sent not in answer.text


def test_another_secret_with_a_known_selector_opens_nothing(lab: Door) -> None:
    right = lab.tokens["admin"]
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    is_problem(lab.client(headers=bearer(wrong)).get("/api/v1/corpora"), 401)


def test_a_revoked_token_ends_at_once(lab: Door) -> None:
    token = access_tokens.create_token(lab.store, "leaving", "admin").text
    client = lab.client(headers=bearer(token))
    assert client.get("/api/v1/corpora").status_code == 200
    access_tokens.revoke_token(lab.store, "leaving")
    is_problem(client.get("/api/v1/corpora"), 401)


def test_an_expired_token_opens_nothing_and_leaves_the_door_shut(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with door(tmp_path_factory.mktemp("expired") / "data") as opened:
        token = access_tokens.create_token(opened.store, "short", "admin", days=1e-9).text
        is_problem(opened.client(headers=bearer(token)).get("/api/v1/corpora"), 401)
        client = opened.client(client=("127.0.0.1", 50_000))
        sent = OWN | JSON
        is_problem(client.put("/api/v1/clusters/1/annotation", content=b"{}", headers=sent), 401)
        access_tokens.revoke_token(opened.store, "short")
        is_problem(client.put("/api/v1/clusters/1/annotation", content=b"{}", headers=sent), 404)


def test_secrets_are_compared_in_constant_time_by_digest(
    lab: Door, by_settings: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = credentials.hmac.compare_digest

    def noted(result: bytes, stored: bytes) -> bool:
        compared.append((result, stored))
        return real(result, stored)

    monkeypatch.setattr(credentials.hmac, "compare_digest", noted)
    for opened, token in ((lab, f"qx_{'0' * 12}_{'A' * 43}"), (by_settings, "x")):
        compared.clear()
        opened.client(headers=bearer(token)).get("/api/v1/corpora")
        assert compared, "an unknown token takes the same path as a known one"
        assert {len(side) for pair in compared for side in pair} == {64}


def test_no_secret_reaches_sql_or_a_log(
    lab: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("sqlalchemy.engine").setLevel(logging.DEBUG)
    try:
        token = lab.tokens["admin"]
        client = lab.logged_in(token)
        (cookie,) = client.cookies.values()
        client.get("/login", params={"next": "/documents"})
        lab.client(headers=bearer(token)).get("/api/v1/corpora?x=1")
        lab.client().post("/login", data={"token": token + "x"}, headers=OWN)
    finally:
        logging.getLogger("sqlalchemy.engine").setLevel(logging.NOTSET)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "access_token" in text
    assert "login_session" in text
    for secret in (token, cookie):
        assert secret not in text
        assert secret[-16:] not in text
        assert secret[16:] not in text


def test_a_database_that_does_not_answer_is_a_503_that_opens_nothing(
    lab: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(access_tokens, "is_protected", failing)
    is_problem(lab.client(headers=bearer("x")).get("/api/v1/corpora"), 503)


def test_a_server_without_tokens_is_open_to_its_own_machine_alone(store: Store) -> None:
    app = create_app(store)
    answer = local_client(app).put("/api/v1/clusters/1/annotation", json={}, headers=OWN)
    is_problem(answer, 404)
    for path in ("/api/v1/corpora", "/login"):
        assert local_client(app, client=REMOTE).get(path).status_code == 403
    access_tokens.create_token(store, "reader", "read")
    answer = local_client(app).put("/api/v1/clusters/1/annotation", json={}, headers=OWN)
    is_problem(answer, 404)


def test_the_access_log_names_the_login_and_nothing_of_its_link(
    by_settings: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quanta.access")
    link = login_sessions.create_login_link(by_settings.store)
    by_settings.logged_in(link)
    lines = [r.message for r in caplog.records if r.name == "quanta.access"]
    assert [json.loads(line)["path"] for line in lines] == ["/login"]
    assert link.rpartition("_")[2] not in "".join(lines)
