"""Attacks on a server's doors: what is refused, how, that nothing changes and nothing leaks.

Routes are enumerated from the application: a new one is attacked without being named here.
"""

import json
from urllib.parse import quote, urlencode

import pytest

from app.web.login_attempts import MAX_FAILURES
from app.web.scopes import MUTATIONS, SAFE_METHODS
from app.web.security_headers import CSP
from tests.app.attack.targets import (
    FORM,
    JSON,
    PROGRAM,
    SETTINGS_TOKEN,
    Answer,
    Endpoint,
    Target,
    body_of,
    contents,
    elsewhere,
)
from tests.app.doors import is_form


def refused(answer: Answer, route: Endpoint, *statuses: int) -> None:
    assert answer.status in statuses, (route, answer.status, answer.body[:300])
    assert answer.header("set-cookie") is None, route
    if is_form(route.path):
        assert (answer.header("content-type") or "").startswith("text/html"), route
    else:
        answer.problem(*statuses)


def test_no_change_is_made_with_a_credential_that_does_not_allow_it(
    target: Target, mutations: list[Endpoint], known: dict[str, str]
) -> None:
    before = contents(target.folder)
    n_checked = 0
    for route in mutations:
        needed = MUTATIONS[route.method, route.path]
        kind, body = body_of(route)
        own = {"Origin": target.url, "Content-Type": kind}
        where = route.filled(known)
        wrong = [({}, 401), (target.bearer("read"), 403)]
        wrong += [(target.bearer(name), 401) for name in ("expired", "revoked")]
        wrong += [({"Authorization": f"Basic {SETTINGS_TOKEN}"}, 401)]
        wrong += [({"Cookie": f"quanta_session_{target.address[1]}={SETTINGS_TOKEN}"}, 401)]
        for credential, status in wrong:
            if needed is None or (needed == "read" and status == 403):
                continue
            # Of this machine, reads are open; wrong tokens are few at each address.
            is_near = needed != "read" and "Authorization" not in credential
            for place in (elsewhere(), {} if is_near else elsewhere()):
                sent = own | credential | place
                refused(target.ask(route.method, where, sent, body), route, status)
                n_checked += 1
    assert n_checked >= 100
    assert contents(target.folder) == before


def test_no_change_is_made_by_a_form_of_another_site(
    target: Target, mutations: list[Endpoint], known: dict[str, str], session: dict[str, str]
) -> None:
    before = contents(target.folder)
    port = target.address[1]
    foreign = [
        *("http://evil.example", f"http://localhost:{port}", f"http://127.0.0.1:{port + 1}"),
        *("null", "", "file://", f"http://127.0.0.1:{port}.evil.example", f"http://[::1]:{port}"),
        *(f"http://127.0.0.1:{port}@evil.example", "http://127.0.0.1", f"http://127.1:{port}"),
    ]
    for route in mutations:
        kind, body = body_of(route)
        where = route.filled(known)
        for sent in [
            *({"Origin": origin} for origin in foreign),
            *({"Sec-Fetch-Site": site} for site in ("cross-site", "same-site", "", "x")),
            {"Origin": target.url, "Sec-Fetch-Site": "cross-site"},
            {},
        ]:
            for media in (kind, "text/plain"):
                headers = {"Content-Type": media, **sent, **session}
                refused(target.ask(route.method, where, headers, body), route, 403)
    assert contents(target.folder) == before


def test_no_change_is_made_by_what_a_form_can_send_without_its_pages_token(
    target: Target, mutations: list[Endpoint], known: dict[str, str], session: dict[str, str]
) -> None:
    before = contents(target.folder)
    for route in mutations:
        own = {"Origin": target.url, "Sec-Fetch-Site": "same-origin", **session}
        simple = ["text/plain", "multipart/form-data; boundary=x", "", "application/jsonx"]
        types = [(media, 415) for media in simple]
        types += [(FORM, 403 if is_form(route.path) else 415)]
        for media, status in types:
            sent = own | {"Content-Type": media}
            answer = target.ask(route.method, route.filled(known), sent, body_of(route)[1])
            refused(answer, route, status)
    assert contents(target.folder) == before


def test_no_change_is_made_by_reading_or_by_another_method(
    target: Target, mutations: list[Endpoint], known: dict[str, str], session: dict[str, str]
) -> None:
    before = contents(target.folder)
    forced = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "PUT", "X-HTTP-Method": "POST"}
    taken = {(route.method, route.path) for route in mutations}
    for route in mutations:
        where = f"{route.filled(known)}?_method=POST&kind=classify&text=x&token=x"
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "BREW", "DELETE", "PATCH", "PUT"):
            if (method, route.path) in taken:
                continue
            sent = forced | session | ({} if method in SAFE_METHODS else PROGRAM)
            answer = target.ask(method, where, sent)
            assert answer.status in {200, 404, 405, 415, 422}, (method, route)
            # A page of the same address may answer a read; nothing else is a success.
            assert answer.status != 200 or method in {"GET", "HEAD"}, (method, route)
            assert answer.header("set-cookie") is None
    assert contents(target.folder) == before


OUTSIDE = [
    *("..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fquanta.sqlite", "..%2f..%2fetc%2fpasswd"),
    *("%2fetc%2fpasswd", "/etc/passwd", "..%5c..%5cquanta.sqlite", "%252e%252e%252f", "..;/"),
    *("quanta.sqlite", "..%2fquanta.sqlite", "....//....//quanta.sqlite", "%c0%ae%c0%ae%2f", "%00"),
    *("x%00.css", "app.css%00", "%0d%0aX-Forged:1", "~root", "file:%2f%2f%2fetc%2fpasswd", "."),
    *(
        "a" * 5_000,
        "%2e%2e%2f" * 500,
        "%ff%fe",
        "%ed%a0%80",
        "C:%5cWindows",
        "-1",
        "1e9",
        "9" * 400,
    ),
]


def test_no_path_parameter_of_any_route_leads_outside(
    target: Target, routes: list[Endpoint], known: dict[str, str]
) -> None:
    before = contents(target.folder)
    n_checked = 0
    for route in routes:
        kind, body = body_of(route)
        sent = target.bearer("admin") | {"Origin": target.url, "Content-Type": kind}
        for name in route.names:
            for value in OUTSIDE:
                where = route.filled(known, **{name: value})
                answer = target.ask(route.method, where, sent, body if kind == JSON else "")
                assert answer.status in {307, 404, 405, 422}, (route, name, value, answer.status)
                if answer.status == 307:  # the same address without a slash at its end
                    location = answer.header("location") or ""
                    assert location.startswith(target.url + route.path.partition("{")[0])
                assert b"root:x:" not in answer.body
                assert b"SQLite format" not in answer.body
                assert answer.header("x-forged") is None
                n_checked += 1
    assert n_checked >= 25 * len(OUTSIDE)
    assert contents(target.folder) == before


def test_an_address_that_is_too_long_is_refused(target: Target, routes: list[Endpoint]) -> None:
    for path in ("/", "/api/v1/corpora/", "/static/"):
        assert target.ask("GET", path + "a" * 40_000).status == 414
    target.ask("GET", f"/api/v1/predictions?{'x=1&' * 9_000}").problem(414)
    assert target.ask("GET", f"/api/v1/predictions?{'x=1&' * 7_000}").status == 200
    many = target.ask("GET", f"/api/v1/predictions?{'cls=x&' * 5_000}").problem(422)
    assert len(json.dumps(many)) < 20_000


NAMES_OF_OTHERS = [
    *("evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "localtest.me", "0.0.0.0"),
    *("2130706433", "0x7f000001", "017700000001", "127.1", "localhost.", "localhost.localdomain"),
    *("[::]", "[::ffff:127.0.0.1]", "[::1%25lo]", "127.0.0.1,evil.example", "127.0.0.2.", "[::1"),
    *("localhost@evil.example", "evil.example#localhost", "evil.example/localhost", "", " ", "::1"),
    *("ⅼocalhost", "localhost:80:80", "localhost:x", "127.0.0.1 evil.example", "*", "_"),
]


@pytest.mark.parametrize("name", NAMES_OF_OTHERS)
def test_a_foreign_name_reaches_no_page_no_data_and_no_change(target: Target, name: str) -> None:
    for port in ("", f":{target.address[1]}"):
        host = (name + port).encode()
        for line in (b"GET /api/v1/corpora", b"GET /", b"GET /login", b"POST /api/v1/jobs"):
            extra = b"Origin: http://" + host + b"\r\nContent-Type: application/json\r\n"
            sent = b"%s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n" % (line, host, extra)
            status = target.raw(sent).split(b" ", 2)[1]
            assert status in {b"400", b"421"}, (line, host)


def test_no_other_header_stands_in_for_the_host(target: Target) -> None:
    host, evil = target.host.encode(), b"evil.example"
    for head in (
        b"Host: %s\r\nHost: %s\r\n" % (host, evil),
        b"Host: %s\r\nHost: %s\r\n" % (evil, host),
        b"Host: %s\r\nX-Forwarded-Host: %s\r\n" % (evil, host),
        b"",
    ):
        sent = b"GET /api/v1/corpora HTTP/1.1\r\n%sConnection: close\r\n\r\n" % head
        assert target.raw(sent).split(b" ", 2)[1] in {b"400", b"421"}, head
    absolute = b"GET http://evil.example/api/v1/corpora HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert (
        target.raw(absolute.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[9:12] == b"421"
    )


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_names_of_this_machine_are_answered(target: Target, name: str) -> None:
    host = {"Host": f"{name}:{target.address[1]}"}
    assert target.ask("GET", "/api/v1/corpora", host).status == 200


def test_no_answer_is_readable_by_another_origin(target: Target) -> None:
    for method, sent in (("GET", {}), ("OPTIONS", {"Access-Control-Request-Method": "PUT"})):
        answer = target.ask(method, "/api/v1/corpora", {"Origin": "http://evil.example", **sent})
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_every_answer_carries_the_headers_that_bound_what_its_page_may_do(
    target: Target, routes: list[Endpoint], known: dict[str, str]
) -> None:
    expected = {
        "content-security-policy": CSP,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "x-frame-options": "SAMEORIGIN",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    reads = [route for route in routes if route.method == "GET"]
    paths = [route.filled(known) for route in reads if not route.path.endswith("/events")]
    assert len(paths) >= 30
    for path in [*paths, "/no-such-page", "/api/v1/none", "/static/none", "/%00"]:
        answer = target.ask("GET", path)
        assert {name: answer.header(name) for name in expected} == expected, path
        assert answer.header("server") is None
        assert answer.header("set-cookie") is None


def test_every_cookie_is_out_of_reach_of_scripts_and_other_sites(
    target: Target, session: dict[str, str]
) -> None:
    cookies = []
    for path, fields in (("/login", {"token": SETTINGS_TOKEN}), ("/logout", {})):
        sent = {"Origin": target.url, "Content-Type": FORM}
        answer = target.ask("POST", path, sent, urlencode(fields))
        cookies += [value for name, value in answer.headers if name.lower() == "set-cookie"]
    assert len(cookies) == 2
    for cookie in cookies:
        target.secrets.append(cookie.partition("=")[2].partition(";")[0])
        parts = {part.strip().lower() for part in cookie.split(";")}
        assert {"httponly", "samesite=lax", "path=/"} <= parts
        assert not [part for part in parts if part.startswith("domain")]


def test_wrong_tokens_are_limited_and_say_how_long(target: Target) -> None:
    place = elsewhere()
    for number in range(MAX_FAILURES):
        guess = f"guess-{number}-of-the-token"
        target.secrets.append(guess)
        sent = place | {"Authorization": f"Bearer {guess}"}
        target.ask("GET", "/api/v1/corpora", sent).problem(401)
    sent = place | {"Authorization": "Bearer another"}
    answer = target.ask("GET", "/api/v1/corpora", sent)
    answer.problem(429)
    assert 0 < int(answer.header("retry-after") or 0) <= 301
    form = place | {"Origin": target.url, "Content-Type": FORM}
    assert target.ask("POST", "/login", form, "token=another").status == 429
    # A token that was right before is no guess; at another address nothing was guessed.
    assert target.ask("GET", "/api/v1/corpora", elsewhere() | target.bearer("run")).status == 200
    assert target.ask("GET", "/api/v1/corpora", place | target.bearer("run")).status == 200


def test_no_secret_is_in_any_log_or_metric(target: Target, session: dict[str, str]) -> None:
    target.ask("GET", f"/login?token={SETTINGS_TOKEN.replace(' ', '+')}", session)
    for name in target.tokens:
        target.ask("GET", "/", elsewhere() | target.bearer(name))
    written = target.logs() + target.ask("GET", "/metrics").body.decode()
    assert "/api/v1/corpora" in written
    assert "login_session" in written, "the talkative loggers were asked"
    assert len(target.secrets) >= 15
    for secret in filter(None, target.secrets):
        for displayed in (secret, quote(secret), secret[-20:]):
            assert displayed not in written


def test_after_all_of_it_the_server_is_as_small_as_before(target: Target, idle_bytes: int) -> None:
    target.assert_still_small(idle_bytes)
