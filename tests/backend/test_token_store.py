"""Tokens in the store: made once, kept as digests, listed, revoked and noted; the commands too."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from backend import cli
from backend.access import credentials
from backend.access import sessions as login_sessions
from backend.access import tokens as access_tokens
from backend.access.tokens import (
    SCOPES,
    authenticate,
    covers,
    create_token,
    list_tokens,
    revoke_token,
)
from backend.commands import serving
from backend.errors import InvalidInputError, NotFoundError
from backend.settings import Settings, settings
from backend.store.database import Store
from backend.store.tables import AccessToken

Run = Callable[..., str]


def test_a_token_is_recognized_by_its_digest_alone(any_store: Store) -> None:
    made = create_token(any_store, "ann", "run", days=3)
    held = authenticate(any_store, made.text.encode())
    assert held is not None
    assert (held.name, held.scope) == ("ann", "run")
    with any_store.session() as session:
        row = session.scalars(select(AccessToken)).one()
        retained = [
            str(value) for value in session.execute(text("SELECT * FROM access_token")).one()
        ]
    assert row.digest == credentials.digest(made.text.encode())
    secret = made.text.rpartition("_")[2] if made.text.count("_") == 2 else made.text[16:]
    assert not [value for value in retained if secret in value or made.text in value]


def test_tokens_are_random_and_never_alike(any_store: Store) -> None:
    texts = {create_token(any_store, f"t{i}", "read").text for i in range(20)}
    assert len(texts) == 20
    for made in texts:
        assert made.startswith("qx_")
        assert len(made) == 3 + 12 + 1 + 43  # 43 characters of base64 are 256 bits


def test_a_token_ends_on_its_day_and_when_it_is_revoked(any_store: Store) -> None:
    short, long = (
        create_token(any_store, n, "admin", d) for n, d in (("short", 1e-9), ("long", 1))
    )
    assert authenticate(any_store, short.text.encode()) is None
    assert authenticate(any_store, long.text.encode()) is not None
    assert access_tokens.has_admin_token(any_store)
    first = revoke_token(any_store, "long")
    assert revoke_token(any_store, "long") == first
    assert authenticate(any_store, long.text.encode()) is None
    assert {t.name: t.state for t in list_tokens(any_store)} == {
        "short": "expired",
        "long": "revoked",
    }
    assert not access_tokens.has_admin_token(any_store)


def test_sessions_and_links_work_on_every_database(any_store: Store) -> None:
    made = create_token(any_store, "ann", "run", 1)
    held = authenticate(any_store, made.text.encode())
    assert held is not None
    cookie = login_sessions.create_session(any_store, held).encode()
    assert login_sessions.authenticate_session(any_store, cookie) == held
    login_sessions.delete_session(any_store, b"unknown")
    login_sessions.delete_session(any_store, cookie)
    assert login_sessions.authenticate_session(any_store, cookie) is None
    config = any_store.settings.model_copy(update={"token": "of the settings"})
    protected = Store(any_store.engine, config)
    link = login_sessions.create_login_link(protected).encode()
    assert login_sessions.redeem_login_link(any_store, link) is None
    assert login_sessions.redeem_login_link(protected, link) == access_tokens.ADMIN_OF_SETTINGS
    assert login_sessions.redeem_login_link(protected, link) is None


def test_a_name_can_be_used_again_when_its_token_has_ended(any_store: Store) -> None:
    old = create_token(any_store, "ann", "read")
    with pytest.raises(InvalidInputError, match="already"):
        create_token(any_store, "ann", "admin")
    revoke_token(any_store, "ann")
    new = create_token(any_store, "ann", "admin")
    assert authenticate(any_store, old.text.encode()) is None
    assert authenticate(any_store, new.text.encode()) is not None


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "-a", "QUANTA_TOKEN", "a\n"])
def test_a_name_must_be_usable(store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError):
        create_token(store, name, "read")
    assert list_tokens(store) == []


@pytest.mark.parametrize("days", [0, -1, 3651, float("inf"), float("nan")])
def test_the_days_of_a_token_have_bounds(store: Store, days: float) -> None:
    with pytest.raises(InvalidInputError):
        create_token(store, "ann", "read", days)


def test_an_unknown_token_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFoundError, match="'bob'"):
        revoke_token(store, "bob")


def test_scopes_are_ordered() -> None:
    table = {(held, needed): covers(held, needed) for held in SCOPES for needed in SCOPES}
    assert [held for held in SCOPES if table[held, "read"]] == ["read", "run", "admin"]
    assert [held for held in SCOPES if table[held, "run"]] == ["run", "admin"]
    assert [held for held in SCOPES if table[held, "admin"]] == ["admin"]


def test_the_last_use_is_noted_at_most_once_a_minute(any_store: Store) -> None:
    sent = create_token(any_store, "ann", "read").text.encode()
    authenticate(any_store, sent)
    (first,) = list_tokens(any_store)
    authenticate(any_store, sent)
    assert list_tokens(any_store) == [first]
    assert first.last_used_at is not None
    earlier = datetime.now(UTC) - timedelta(minutes=1, seconds=1)
    with any_store.begin() as session:
        session.execute(update(AccessToken).values(last_used_at=earlier))
    authenticate(any_store, sent)
    (later,) = list_tokens(any_store)
    assert later.last_used_at is not None
    assert later.last_used_at >= first.last_used_at


def test_a_token_is_recognized_while_another_process_writes(store: Store) -> None:
    sent = create_token(store, "ann", "read").text.encode()
    with closing(sqlite3.connect(store.settings.data_dir / "quanta.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        began = datetime.now(UTC)
        assert authenticate(store, sent) is not None
        assert datetime.now(UTC) - began < timedelta(seconds=5)
    assert list_tokens(store)[0].last_used_at is None
    with store.engine.connect() as connection:  # the wait that others count on is as it was
        assert connection.scalar(text("PRAGMA busy_timeout")) == 30_000


def test_an_empty_setting_is_no_token(store: Store) -> None:
    assert store.settings.token == ""
    assert authenticate(store, b"") is None
    assert not access_tokens.is_protected(store)
    with pytest.raises(InvalidInputError):
        login_sessions.create_login_link(store)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run `quanta`; returns what it prints."""
    monkeypatch.setenv("QUANTA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("backend.commands.common.log_work", lambda _folder: None)
    settings.cache_clear()

    def main(*arguments: str) -> str:
        done = CliRunner().invoke(cli.cli, arguments)
        if done.exception is not None:
            raise done.exception
        return done.output

    yield main
    settings.cache_clear()


def test_the_commands_make_list_and_revoke(run: Run) -> None:
    made = json.loads(run("token", "create", "ann", "--scope", "run", "--expires", "2", "--json"))
    assert made["token"].startswith("qx_")
    assert (made["name"], made["scope"], made["state"]) == ("ann", "run", "live")
    listed = run("token", "list", "--json")
    assert made["token"] not in listed
    (item,) = json.loads(listed)["tokens"]
    assert item["expires_at"].endswith("Z")
    assert item["last_used_at"] is None
    assert json.loads(run("token", "revoke", "ann", "--json"))["state"] == "revoked"
    assert "revoked" in run("token", "list")
    text = run("token", "create", "bob", "--scope", "admin")
    assert text.splitlines()[0].startswith("qx_")
    assert "not shown again" in text


def test_an_address_that_others_reach_needs_an_admin_token_that_lives(tmp_path: Path) -> None:
    config = Settings(data_dir=tmp_path / "data", host="0.0.0.0")
    with pytest.raises(InvalidInputError, match="quanta token create"):
        serving.open_checked_store(config)
    store = serving.open_checked_store(config.model_copy(update={"host": "127.0.0.1"}))
    for name, scope, days in (("a", "run", None), ("b", "read", None), ("c", "admin", 1e-9)):
        create_token(store, name, scope, days)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="no admin token"):
            serving.open_checked_store(config)
    create_token(store, "d", "admin")
    serving.open_checked_store(config).engine.dispose()
    revoke_token(store, "d")
    with pytest.raises(InvalidInputError):
        serving.open_checked_store(config)
    store.engine.dispose()


def test_a_run_of_its_own_token_prints_a_link_and_keeps_a_token_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("QUANTA_TOKEN", "kept")
    settings.cache_clear()
    assert serving.run_settings(has_own_token=True).token == "kept"
    monkeypatch.setenv("QUANTA_TOKEN", "")
    settings.cache_clear()
    assert serving.run_settings(has_own_token=False).token == ""
    config = serving.run_settings(has_own_token=True)
    assert len(config.token) == 43
    assert settings().token == config.token
    store = serving.open_checked_store(config)
    line = serving.login_link(store)
    _, _, link = line.rpartition("#")
    assert "http://127.0.0.1:8000/login#ql_" in line
    assert config.token not in line
    assert login_sessions.redeem_login_link(store, link.encode()) is not None
    store.engine.dispose()
    settings.cache_clear()


@pytest.mark.parametrize(
    ("host", "displayed"),
    [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]")],
)
def test_the_link_is_one_that_a_browser_can_open(host: str, displayed: str) -> None:
    assert serving.address(Settings(host=host, port=81)) == f"http://{displayed}:81"
