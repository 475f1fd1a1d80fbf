"""A real server that logs everything, requests as an attacker writes them, and what they change."""

import json
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from backend.access import tokens as access_tokens
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests.app.doors import is_form
from tests.processes import running_server
from tests.stores import DATABASE, copy_store

SECONDS = 120.0
SETTINGS_TOKEN = "battery staple of the attacked"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
JOBS, SEARCH = "/api/v1/jobs", "/api/v1/predictions/search"
PROGRAM = {"Sec-Fetch-Site": "none", "Content-Type": JSON}
MOST_MORE_BYTES = 200 << 20
# The program with every logger at its most talkative, but for the rows that SQLAlchemy would log.
TALKATIVE = (
    "import logging; logging.basicConfig(level=logging.DEBUG);"
    "logging.getLogger('sqlalchemy.engine').setLevel(logging.INFO);"
    "from backend.cli import main; main()"
)
_FOREIGN = count(1)


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def problem(self, *statuses: int) -> dict[str, Any]:
        """The problem document, whose status is one of these."""
        assert self.status in statuses, (self.status, self.body[:500])
        assert self.header("content-type") == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["detail"]
        assert document["remedy"]
        return document


@dataclass(frozen=True)
class Target:
    """A running server that tokens protect."""

    url: str
    folder: Path
    log: Path
    process: psutil.Process
    tokens: dict[str, str]
    secrets: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | Iterable[bytes] | None = None,
    ) -> Answer:
        """Send a request; nothing of its target or headers is changed on the way."""
        connection = HTTPConnection(*self.address, timeout=SECONDS)
        try:
            connection.request(method, target, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        """Send bytes; return all that comes back until the server closes."""
        parts = []
        with (
            socket.create_connection(self.address, timeout=SECONDS) as connection,
            # A server that closes before it has read everything may take its answer with it.
            suppress(ConnectionResetError, BrokenPipeError),
        ):
            connection.sendall(sent)
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def rss(self) -> int:
        return int(self.process.memory_info().rss)

    def cpu_seconds(self) -> float:
        """CPU time of the server so far; other processes on the machine do not change it."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def assert_still_small(self, idle_bytes: int) -> None:
        """It answers, and needs little more memory than when it was idle."""
        assert self.ask("GET", "/healthz").status == 200
        more = self.rss() - idle_bytes
        print(f"RSS {idle_bytes >> 20} MiB idle, {more >> 20} MiB more after the attacks")
        assert more < MOST_MORE_BYTES

    def logs(self) -> str:
        """All that the server has written anywhere but into its database."""
        files = [self.log, *self.folder.rglob("*.log")]
        return "\n".join(path.read_text(errors="replace") for path in files)


def elsewhere() -> dict[str, str]:
    """A header that makes a request one of another machine, each time of another.

    The server believes a proxy on its own machine.
    """
    number = next(_FOREIGN)
    return {"X-Forwarded-For": f"192.0.{number // 250}.{number % 250 + 1}"}


def _tokens(store: Store) -> dict[str, str]:
    made = {s: access_tokens.create_token(store, s, s).text for s in access_tokens.SCOPES}
    made["expired"] = access_tokens.create_token(store, "expired", "admin", days=1e-9).text
    made["revoked"] = access_tokens.create_token(store, "revoked", "admin").text
    access_tokens.revoke_token(store, "revoked")
    return made | {"settings": SETTINGS_TOKEN}


@contextmanager
def attacked(mini: Store, folder: Path) -> Iterator[Target]:
    """Serve a copy of the miniature store, protected by tokens of every scope and state."""
    store = open_store(Settings(data_dir=copy_store(mini, folder)))
    tokens = _tokens(store)
    store.close()
    run = [sys.executable, "-c", TALKATIVE]
    options = ("--no-worker",)
    with running_server(folder, run=run, options=options, QUANTA_TOKEN=SETTINGS_TOKEN) as server:
        process = psutil.Process(server.pid)
        yield Target(server.url, folder, server.log, process, tokens, [*tokens.values()])


def contents(folder: Path) -> dict[str, Any]:
    """What a change would change: the rows that people make, and how many there are of all."""
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        counts = {n: connection.execute(f"SELECT COUNT(*) FROM {n}").fetchone()[0] for n in names}
        rows = {n: connection.execute(f"SELECT * FROM {n}").fetchall() for n in MADE_BY_PEOPLE}
        return {"counts": counts, "rows": rows}


MADE_BY_PEOPLE = ("job", "annotation", "login_session")


@dataclass(frozen=True)
class Endpoint:
    """A method of a route with its path template."""

    method: str
    path: str

    @property
    def names(self) -> list[str]:
        return [part.partition(":")[0] for part in self.path.replace("}", "{").split("{")[1::2]]

    def filled(self, values: Mapping[str, Any], **changes: str) -> str:
        """The path with known values, some of them changed, as it goes over the wire."""
        path = self.path.replace(":path}", "}")
        return path.format(**{name: changes.get(name, values[name]) for name in self.names})


def endpoints(app: FastAPI) -> list[Endpoint]:
    """Every method of every route, and the mounted folder."""
    matches = [
        Endpoint(method, str(route.path))
        for route in iter_route_contexts(app.routes)
        for method in sorted(getattr(route, "methods", None) or ())
    ]
    return [*matches, Endpoint("GET", "/static/{file:path}")]


def body_of(route: Endpoint) -> tuple[str, str]:
    """A body that would do something, with its type."""
    fields = {"kind": "classify", "text": "forged words", "target": "⏎", "label": "forged"}
    return (FORM, urlencode(fields)) if is_form(route.path) else (JSON, json.dumps({}))
