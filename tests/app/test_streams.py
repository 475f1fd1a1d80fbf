"""A stream of events ends with the token or the session that opened it."""

from collections.abc import Iterator

import httpx2
import pytest

from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.store.tables import Job
from backend.store.tables.base import now
from tests.app.doors import SETTINGS_TOKEN, Door, bearer, door
from tests.app.test_server import served

REMOTE = {"X-Forwarded-For": "192.0.2.7"}  # a proxy on this machine is believed


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("streams") / "data", token=SETTINGS_TOKEN) as opened:
        with opened.store.begin() as session:
            session.add(
                Job(
                    id="j1",
                    kind="measure",
                    state="queued",
                    parameters={},
                    key="k",
                    claim="k",
                    done=0,
                    unit="checkpoints",
                    updated_at=now(),
                )
            )
        yield opened


@pytest.mark.parametrize("credential", ["token", "session"])
def test_an_open_stream_ends_when_what_opened_it_does(lab: Door, credential: str) -> None:
    token = access_tokens.create_token(lab.store, "reader", "read").text
    holder = access_tokens.authenticate(lab.store, token.encode())
    assert holder is not None
    cookie = login_sessions.create_session(lab.store, holder)
    with served(lab.app) as url, httpx2.Client(base_url=url, timeout=120) as client:
        name = f"quanta_session_{client.base_url.port}"
        sent = bearer(token) if credential == "token" else {"Cookie": f"{name}={cookie}"}
        with client.stream("GET", "/api/v1/jobs/j1/events", headers=REMOTE | sent) as answer:
            assert answer.status_code == 200
            parts = answer.iter_bytes()
            assert next(parts).startswith(b"event: job")
            if credential == "token":
                access_tokens.revoke_token(lab.store, "reader")
            else:
                login_sessions.delete_session(lab.store, cookie.encode())
            assert list(parts) == [], "it ends long before its ten minutes, without another event"
        response = client.get("/api/v1/jobs/j1/events", headers=REMOTE | sent)
        assert response.status_code == 401
