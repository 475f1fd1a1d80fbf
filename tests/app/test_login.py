"""Login and logout: what a session opens, when it ends, and what cannot be done in its name."""

from collections.abc import Iterator
from datetime import timedelta
from threading import Thread

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.requests.forms import FormFields
from app.web.login_attempts import MAX_ADDRESSES, MAX_FAILURES, WINDOW_SECONDS, LoginAttempts
from app.web.login_redirect import safe_next_page
from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.settings import Settings
from backend.store.database import Store, open_store
from backend.store.tables import LoginSession
from backend.store.tables.base import now, utc
from tests.app.doors import (
    COOKIE,
    HOME,
    OWN,
    SETTINGS_TOKEN,
    Door,
    csrf_of,
    door,
    filled,
    is_form,
    mutating_routes,
)
from tests.app.test_error_shape import is_problem

ANNOTATION = "/api/v1/clusters/1/annotation"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("login") / "data"
    with door(folder, token=SETTINGS_TOKEN, scopes=("read", "run", "admin")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_attempts_before(lab: Door) -> None:
    lab.app.state.attempts = LoginAttempts()


def test_a_session_opens_pages_and_data_and_is_shown(lab: Door) -> None:
    client = lab.logged_in(lab.tokens["run"])
    page = client.get("/")
    assert page.status_code == 200
    assert "run (run)" in page.text
    assert "Log out" in page.text
    for path in ("/api/v1/corpora", "/healthz", "/api/v1/jobs"):
        assert client.get(path).status_code == 200
    assert "Log out" not in lab.client(client=("127.0.0.1", 50_000)).get("/").text


def test_a_session_has_the_scope_of_its_token(lab: Door) -> None:
    run = lab.logged_in(lab.tokens["run"])
    assert run.post("/api/v1/jobs", json={}, headers=OWN).status_code == 422
    is_problem(run.put(ANNOTATION, json={}, headers=OWN), 403)
    for token in (SETTINGS_TOKEN, lab.tokens["admin"]):
        admin = lab.logged_in(token)
        assert admin.put(ANNOTATION, json={}, headers=OWN).status_code == 404


def test_the_cookie_is_kept_from_scripts_and_other_sites(lab: Door) -> None:
    answer = lab.client().post("/login", data={"token": SETTINGS_TOKEN}, headers=OWN)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=qs_")
    for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age="):
        assert part in cookie
    assert "Secure" not in cookie
    assert SETTINGS_TOKEN not in cookie
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_is_never_sent_in_the_clear_if_it_was_set_over_https(lab: Door) -> None:
    own = {"Origin": "https://localhost"}
    client = lab.client(base_url="https://localhost")
    answer = client.post("/login", data={"token": SETTINGS_TOKEN}, headers=own)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "wrong", "qx_" + "0" * 12 + "_" + "A" * 43, "x" * 900_000])
def test_a_bad_token_logs_nobody_in(lab: Door, token: str) -> None:
    answer = lab.client().post("/login", data={"token": token}, headers=OWN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert not token or token not in answer.text


def test_a_planted_session_is_never_taken_over(lab: Door) -> None:
    planted = login_sessions.create_session(lab.store, access_tokens.ADMIN_OF_SETTINGS)
    victim = lab.client(cookies={COOKIE: planted})
    answer = victim.post(
        "/login",
        data={"token": lab.tokens["read"], "csrf": csrf_of(victim.get("/login").text)},
        headers=OWN,
    )
    assert answer.status_code == 303
    assert planted not in answer.headers["set-cookie"]
    is_problem(lab.client(cookies={COOKIE: planted}).get("/api/v1/corpora"), 401)
    made_up = lab.client(cookies={COOKIE: "mine"})
    answer = made_up.post("/login", data={"token": lab.tokens["read"]}, headers=OWN)
    assert f"{COOKIE}=mine" not in answer.headers["set-cookie"]


def test_a_logout_ends_the_session_in_the_store_too(lab: Door) -> None:
    client = lab.logged_in(SETTINGS_TOKEN)
    copy = client.cookies[COOKIE]
    answer = client.post("/logout", data={"csrf": csrf_of(client.get("/").text)}, headers=OWN)
    assert answer.status_code == 303
    assert COOKIE not in client.cookies
    is_problem(lab.client(cookies={COOKIE: copy}).get("/api/v1/corpora"), 401)


def test_revoking_a_token_ends_its_sessions(lab: Door) -> None:
    token = access_tokens.create_token(lab.store, "guest", "admin").text
    client = lab.logged_in(token)
    assert client.get("/api/v1/corpora").status_code == 200
    access_tokens.revoke_token(lab.store, "guest")
    is_problem(client.get("/api/v1/corpora"), 401)
    repeated = access_tokens.create_token(lab.store, "guest", "admin").text
    assert repeated != token
    is_problem(client.get("/api/v1/corpora"), 401)


def test_another_token_in_the_settings_ends_the_sessions_of_the_old_one(lab: Door) -> None:
    cookie = lab.logged_in(SETTINGS_TOKEN).cookies[COOKIE].encode()
    assert login_sessions.authenticate_session(lab.store, cookie) is not None
    for token in ("another", ""):
        changed = Store(lab.store.engine, lab.store.settings.model_copy(update={"token": token}))
        assert login_sessions.authenticate_session(changed, cookie) is None


def test_an_expired_session_opens_nothing_and_is_swept(lab: Door) -> None:
    client = lab.logged_in(SETTINGS_TOKEN)
    with lab.store.begin() as session:
        session.execute(update(LoginSession).values(expires_at=now() - timedelta(seconds=1)))
    is_problem(client.get("/api/v1/corpora"), 401)
    lab.logged_in(SETTINGS_TOKEN)
    with lab.store.session() as session:
        assert session.scalar(select(func.count()).select_from(LoginSession)) == 1


def test_a_session_does_not_outlive_its_token(lab: Door) -> None:
    token = access_tokens.create_token(lab.store, "brief", "read", days=0.5).text
    lab.logged_in(token)
    with lab.store.session() as session:
        newest = session.scalars(select(LoginSession).order_by(LoginSession.id.desc())).first()
        assert newest is not None
        assert utc(newest.expires_at) < now() + timedelta(days=0.5)


def forms(lab: Door) -> list[str]:
    paths = {path for _method, path in mutating_routes(lab.app) if is_form(path)}
    return [filled(path) for path in sorted(paths)]


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "é"])
def test_every_form_of_a_session_needs_the_token_of_its_page(lab: Door, csrf: str | None) -> None:
    client = lab.logged_in(lab.tokens["admin"])
    fields = {"text": "some words", "token": SETTINGS_TOKEN}
    fields |= {} if csrf is None else {"csrf": csrf}
    assert len(forms(lab)) >= 4
    for path in forms(lab):
        answer = client.post(path, data=fields, headers=OWN)
        assert answer.status_code == 403, path
        assert "set-cookie" not in answer.headers
    assert client.get("/api/v1/corpora").status_code == 200


def test_the_token_of_another_session_is_refused(lab: Door) -> None:
    item, other = lab.logged_in(SETTINGS_TOKEN), lab.logged_in(SETTINGS_TOKEN)
    theirs = csrf_of(other.get("/").text)
    assert item.post("/logout", data={"csrf": theirs}, headers=OWN).status_code == 403


def test_every_form_with_its_token_is_taken(lab: Door) -> None:
    client = lab.logged_in(lab.tokens["admin"])
    fields = {"csrf": csrf_of(client.get("/").text), "text": "some words"}
    for path in forms(lab):
        if not path.startswith("/log"):
            answer = client.post(path, data=fields, headers=OWN)
            assert answer.status_code in {404, 422}, answer.text


def test_every_form_route_reads_its_fields_where_the_token_is_checked(lab: Door) -> None:
    from fastapi.routing import iter_route_contexts

    for route in iter_route_contexts(lab.app.routes):
        if "POST" in (getattr(route, "methods", None) or ()) and is_form(str(route.path)):
            endpoint = route.original_route.endpoint  # type: ignore[attr-defined]
            assert FormFields in endpoint.__annotations__.values(), route.path


def test_a_form_of_another_site_is_refused_with_and_without_the_cookie(lab: Door) -> None:
    evil = {"Origin": "http://evil.example"}
    for client in (lab.client(), lab.logged_in(SETTINGS_TOKEN)):
        for path in forms(lab):
            answer = client.post(path, data={"token": SETTINGS_TOKEN}, headers=evil)
            assert answer.status_code in {401, 403}
            assert "set-cookie" not in answer.headers


OUTSIDE = [
    *("https://evil.example/", "//evil.example", "/\\evil.example", "\\/evil.example"),
    *("/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "evil", "", "http:/x"),
    *("///evil.example", "/login", "/logout", "/login?next=/x", "/" + "x" * 5000, "/a\\b"),
    "/\u2028/evil.example",
]


@pytest.mark.parametrize("expected", OUTSIDE)
def test_a_login_leads_to_no_other_site(lab: Door, expected: str) -> None:
    assert safe_next_page(expected) == "/"
    client = lab.client()
    assert "evil" not in client.get("/login", params={"next": expected}).text
    fields = {"token": SETTINGS_TOKEN, "next": expected}
    assert client.post("/login", data=fields, headers=OWN).headers["location"] == "/"


def test_a_page_that_needs_a_token_links_to_a_login_that_leads_back(lab: Door) -> None:
    client: TestClient = lab.client()
    page = client.get("/clusterings?x=1&y=%22%3E")
    assert page.status_code == 401
    assert 'href="/login?next=/clusterings%3Fx%3D1%26y%3D%2522%253E"' in page.text
    fields = {"token": SETTINGS_TOKEN, "next": "/clusterings?x=1&y=%22%3E"}
    answer = client.post("/login", data=fields, headers=OWN)
    assert answer.headers["location"] == "/clusterings?x=1&y=%22%3E"


def test_a_form_that_needs_a_token_leads_back_to_its_page(lab: Door) -> None:
    for referer, back in (
        (f"{HOME}/documents/demo", "/login?next=/documents/demo"),
        ("http://evil.example/documents/demo", "/login"),
    ):
        sent = OWN | {"Referer": referer}
        answer = lab.client().post("/documents/demo/paste", data={"text": "x"}, headers=sent)
        assert answer.status_code == 401
        assert f'href="{back}"' in answer.text


def test_a_link_logs_in_once(lab: Door) -> None:
    link = login_sessions.create_login_link(lab.store)
    assert lab.logged_in(link).put(ANNOTATION, json={}, headers=OWN).status_code == 404
    answer = lab.client().post("/login", data={"token": link}, headers=OWN)
    assert answer.status_code == 401
    is_problem(lab.client(headers={"Authorization": f"Bearer {link}"}).get("/healthz"), 401)
    is_problem(lab.client(cookies={COOKIE: link}).get("/healthz"), 401)


def test_a_link_that_is_redeemed_at_the_same_moment_logs_in_one(lab: Door) -> None:
    link = login_sessions.create_login_link(lab.store).encode()
    holders: list[object] = []
    threads = [
        Thread(target=lambda: holders.append(login_sessions.redeem_login_link(lab.store, link)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holders) == 4
    assert sum(holder is not None for holder in holders) == 1


def test_a_link_expires_in_minutes(lab: Door) -> None:
    minutes = login_sessions.LINK_LIFE.total_seconds() / 60
    assert 1 <= minutes <= 15
    link = login_sessions.create_login_link(lab.store)
    with lab.store.begin() as session:
        session.execute(update(LoginSession).values(expires_at=now() - timedelta(seconds=1)))
    assert lab.client().post("/login", data={"token": link}, headers=OWN).status_code == 401


def test_failed_logins_are_limited_and_say_how_long(lab: Door) -> None:
    client = lab.client()
    for _ in range(MAX_FAILURES):
        assert client.post("/login", data={"token": "x"}, headers=OWN).status_code == 401
    answer = client.post("/login", data={"token": SETTINGS_TOKEN}, headers=OWN)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW_SECONDS + 1
    elsewhere = lab.client(client=("192.0.2.8", 1))
    assert elsewhere.post("/login", data={"token": SETTINGS_TOKEN}, headers=OWN).status_code == 303


def test_attempts_are_counted_by_address_in_bounded_memory_and_forgotten_in_time() -> None:
    time = [0.0]
    attempts = LoginAttempts(lambda: time[0])
    for i in range(MAX_FAILURES):
        assert attempts.register(f"2001:db8::{i}") == 0
    assert attempts.register("2001:db8::ffff") > 0, "one network of version 6 is one address"
    time[0] = WINDOW_SECONDS
    assert attempts.register("2001:db8::ffff") == 0
    for i in range(MAX_ADDRESSES + 50):
        attempts.register(f"host-{i}")
    assert len(attempts._failures) == MAX_ADDRESSES
    attempts.record_success("host-60")
    assert len(attempts._failures) == MAX_ADDRESSES - 1


def test_pages_of_two_visitors_are_not_mixed_up_by_caches(lab: Door) -> None:
    client = lab.logged_in(SETTINGS_TOKEN)
    page = client.get("/")
    assert page.headers["vary"] == "Cookie" or "Cookie" in page.headers["vary"]
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/login").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["localhost:x", "localhost:", "[::1]:65536", "localhost:8:9"])
def test_a_host_with_a_strange_port_is_no_fault_of_the_server(lab: Door, host: str) -> None:
    answer = lab.client().get("/api/v1/corpora", headers={"Host": host, "Cookie": "a=b"})
    assert answer.status_code in {401, 421}
    assert lab.client().get("/login", headers={"Host": host}).status_code in {200, 421}


def test_a_session_of_one_store_opens_no_other(
    lab: Door, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cookie = lab.logged_in(SETTINGS_TOKEN).cookies[COOKIE].encode()
    other = open_store(
        Settings(data_dir=tmp_path_factory.mktemp("other") / "data", token=SETTINGS_TOKEN)
    )
    assert login_sessions.authenticate_session(other, cookie) is None
    other.engine.dispose()
