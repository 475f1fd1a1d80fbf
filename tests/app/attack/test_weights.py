"""Attacks by what is large, nested, endless or slow: refused, and the server stays small."""

import gzip
import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from app.web import connections
from app.web.access_control import MAX_HEADER_BYTES
from app.web.body_limit import MAX_BODY_BYTES
from backend.search.filters import TEXT_SECONDS
from tests.app.attack.targets import (
    JOBS,
    JSON,
    MOST_MORE_BYTES,
    PROGRAM,
    SEARCH,
    Answer,
    Endpoint,
    Target,
    body_of,
)


def chunks(size: int) -> Iterator[bytes]:
    yield b'{"kind": "'
    for _ in range(size // 65_536):
        yield b"x" * 65_536
    yield b'"}'


def test_a_body_that_is_too_large_is_refused_on_every_route(
    target: Target, mutations: list[Endpoint], known: dict[str, str]
) -> None:
    for route in mutations:
        sent = target.bearer("admin") | {"Origin": target.url, "Content-Type": body_of(route)[0]}
        where = route.filled(known)
        for body in (b" " * (MAX_BODY_BYTES + 1), chunks(8 * MAX_BODY_BYTES)):
            answer = target.ask(route.method, where, sent, body)
            assert answer.status == 413, (route, answer.body[:200])
        announced = {**sent, "Content-Length": str(1 << 40)}
        assert target.ask(route.method, where, announced, b"").status == 413


def test_a_body_with_two_lengths_is_no_request(target: Target) -> None:
    """What a proxy and this server would cut in different places."""
    head = f"POST {JOBS} HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: {JSON}\r\n"
    for lengths in (
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
        "Content-Length: 1_0\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ):
        got = target.raw(f"{head}{lengths}Connection: close\r\n\r\nhello".encode())
        assert got.split(b" ", 2)[1] in {b"400", b"501"}, lengths


def posted(target: Target, where: str, body: bytes | str, **headers: str) -> Answer:
    sent = PROGRAM | target.bearer("admin") | headers
    return target.ask("POST", where, sent, body)


def nested(depth: int) -> list[str]:
    return [
        "[" * depth + "]" * depth,
        '{"a":' * depth + "1" + "}" * depth,
        '{"kind":"measure","parameters":{"models":' + "[" * depth + "]" * depth + "}}",
        '{"filters":{"cls":' + "[" * depth + "]" * depth + "}}",
        "[" * depth,
    ]


BODIES = {
    **{
        f"nested {n}": body
        for d in (50, 300, 900, 990, 5_000, 200_000)
        for n, body in ((f"{d} {i}", body) for i, body in enumerate(nested(d)))
    },
    "a huge integer": '{"limit": ' + "9" * 500_000 + "}",
    "a large integer": '{"limit": ' + "9" * 4_200 + "}",
    "a huge exponent": '{"filters": {"drop_min": 1e999999}}',
    "not a number": '{"filters": {"drop_min": NaN}}',
    "infinity": '{"filters": {"drop_min": -Infinity}}',
    "equal names": '{"limit": 5, "limit": "x"}',
    "half a pair": '{"filters": {"text": "\\ud800"}}',
    "zero bytes": '{"filters": {"text": "\\u0000"}}',
    "not UTF-8": b'{"filters": {"text": "\xff\xfe"}}',
    "UTF-16": '{"limit": 5, "surprise": 1}'.encode("utf-16"),
    "nothing": "",
    "cut off": '{"limit": ',
    "many names": "{" + ",".join(f'"a{i}":0' for i in range(100_000)) + "}",
    "many values": '{"kind":"evaluate","parameters":{"models":[' + "0," * 450_000 + "0]}}",
    "many empty lists": "[" + "[]," * 340_000 + "[]]",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("where", [JOBS, SEARCH])
def test_a_body_that_is_hard_to_read_is_refused(
    target: Target, idle_bytes: int, where: str, body: bytes | str
) -> None:
    answer = posted(target, where, body)
    answer.problem(400, 413, 422)
    assert len(answer.body) < 100_000
    assert target.rss() < idle_bytes + MOST_MORE_BYTES


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"])
def test_a_compressed_body_is_refused_before_it_is_read(target: Target, coding: str) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    posted(target, JOBS, bomb, **{"Content-Encoding": coding}).problem(415)


EXPENSIVE = [
    *(r"(a+)+$", r"(a|aa)+$", r"(.*a){20}", r"(.*)*(.*)*x", r"^(([a-z])+.)+[A-Z]([a-z])+$"),
    *(r"a{1000}{1000}", r"(x{100}){100}", r"(?:(?:(?:a{9}){9}){9}){9}", r"\pL{500}", r"(" * 400),
    *("(" * 200 + "a" + ")" * 200, r"(?i)" + "[^a]*" * 90, r"((a*)*)*" * 20, r"[\pL\pN]{1,200}x"),
]


# One search may use its time limit, and as much again to load the corpus and to answer.
MAX_CPU_SECONDS = 2 * TEXT_SECONDS


@pytest.mark.parametrize("pattern", EXPENSIVE)
@pytest.mark.parametrize("name", ["regex", "token_pattern"])
def test_an_expensive_pattern_is_refused_or_answered_in_time(
    target: Target, name: str, pattern: str
) -> None:
    start = target.cpu_seconds()
    by_address = target.ask("GET", f"/api/v1/predictions?{name}={quote(pattern)}")
    by_body = posted(target, SEARCH, json.dumps({"filters": {name: pattern}}))
    used = target.cpu_seconds() - start
    assert used < 2 * MAX_CPU_SECONDS, f"two searches for {pattern!r} took {used:.1f} s"
    assert by_address.status == by_body.status
    assert by_address.status in {200, 422}
    assert target.ask("GET", "/healthz").status == 200


def test_headers_that_are_too_long_are_refused(target: Target) -> None:
    target.ask("GET", "/healthz", {"X-Long": "a" * (MAX_HEADER_BYTES + 1)}).problem(431)
    assert target.ask("GET", "/", {"Cookie": "a=b; " * 9_000}).status == 431
    head = f"GET /healthz HTTP/1.1\r\nHost: {target.host}\r\n".encode()
    line = b"X-Many: " + b"a" * 1_000 + b"\r\n"
    assert target.raw(head + line * 70)[9:12] == b"431"
    assert target.raw(b"GET /" + b"a" * 70_000)[9:12] == b"414"
    for endless in (head + line * 8_000, b"GET /" + b"a" * (8 << 20)):
        assert target.raw(endless)[9:12] in {b"", b"414", b"431"}
    assert target.raw(b"\x16\x03\x01 this is TLS\r\n\r\n")[9:12] == b"400"


def test_a_request_that_does_not_arrive_holds_no_connection_for_ever(target: Target) -> None:
    head = f"POST {JOBS} HTTP/1.1\r\nHost: {target.host}\r\n".encode()
    slow = [socket.create_connection(target.address) for _ in range(150)]
    for number, connection in enumerate(slow):
        connection.sendall(b"" if number == 0 else head)
    assert target.ask("GET", "/healthz").status == 200, "others are answered meanwhile"
    for connection in slow:
        connection.settimeout(connections.HEAD_SECONDS + 60)
        received = connection.recv(4096)
        assert received == b"" or received[9:12] == b"408"
        connection.close()


def test_after_all_of_it_the_server_is_as_small_as_before(target: Target, idle_bytes: int) -> None:
    target.assert_still_small(idle_bytes)
