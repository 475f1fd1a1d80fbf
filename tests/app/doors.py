"""Servers that tokens protect, their clients, and every route that changes something."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from app.main import create_app
from app.requests.forms import CSRF_FIELD
from app.web.scopes import SAFE_METHODS
from backend.access import tokens as access_tokens
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests.app.conftest import local_client

HOME = "http://127.0.0.1:8000"
REMOTE = ("192.0.2.7", 40_000)
OWN = {"Origin": HOME}
COOKIE = "quanta_session_8000"
SETTINGS_TOKEN = "correct horse battery staple"


@dataclass(frozen=True)
class Door:
    """A server over an empty store with one token of each scope."""

    app: FastAPI
    store: Store
    tokens: dict[str, str]

    def client(self, **options: Any) -> TestClient:
        """A browser or program on another machine, which does not follow redirections."""
        return local_client(self.app, **{"client": REMOTE, "follow_redirects": False, **options})

    def logged_in(self, token: str, **options: Any) -> TestClient:
        """A client that has exchanged a token for a session."""
        client = self.client(**options)
        assert client.post("/login", data={"token": token}, headers=OWN).status_code == 303
        return client


@contextmanager
def door(
    folder: Path, token: str = "", scopes: tuple[access_tokens.Scope, ...] = ()
) -> Iterator[Door]:
    """Open a server with QUANTA_TOKEN `token` and a stored token, named by its scope, of each."""
    store = open_store(Settings(data_dir=folder, token=token))
    try:
        made = {scope: access_tokens.create_token(store, scope, scope).text for scope in scopes}
        yield Door(create_app(store), store, made)
    finally:
        store.engine.dispose()


def bearer(token: str) -> dict[str, str]:
    """The header that sends a token."""
    return {"Authorization": f"Bearer {token}"}


def csrf_of(page: str) -> str:
    """The token that the forms of a page carry."""
    match = re.search(rf'name="{CSRF_FIELD}" value="([0-9a-f]{{64}})"', page)
    assert match is not None
    return match[1]


def mutating_routes(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path template) of every route that is no plain read."""
    return [
        (method, str(route.path))
        for route in iter_route_contexts(app.routes)
        for method in sorted(getattr(route, "methods", None) or ())
        if method not in SAFE_METHODS
    ]


def filled(path: str) -> str:
    """A path with something in the place of its parameters."""
    return re.sub(r"{[^}]+}", "1", path)


def is_form(path: str) -> bool:
    """Whether a route takes forms, not JSON."""
    return not path.startswith("/api/")
