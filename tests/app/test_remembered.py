"""Answers that are kept: the same bytes as fresh ones, and never older than the store."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

import app.main
from app.main import create_app
from app.web.response_cache import ResponseCache
from backend.quanta import clusterings, overview
from backend.search import search
from backend.store.database import Store
from backend.store.tables import Evaluation, Suite
from backend.store.tables.base import Base, now
from backend.store.versions import TRACKED, TRACKED_WITH_PARENT, UNTRACKED, Versions
from tests.app.conftest import local_client

OWN = {"Sec-Fetch-Site": "none"}


@pytest.fixture
def client(writable_store: Store) -> Iterator[TestClient]:
    with local_client(create_app(writable_store)) as client:
        yield client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed, by name."""
    found: list[str] = []

    def noted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **more: Any) -> Any:
            found.append(name)
            return real(*args, **more)

        monkeypatch.setattr(module, name, call)

    noted(overview, "overview")
    noted(clusterings, "list_clusters")
    noted(search, "search")
    return found


def test_every_table_is_in_the_name_of_the_state_or_left_out_on_purpose() -> None:
    assert set(Base.metadata.tables) == TRACKED | TRACKED_WITH_PARENT | UNTRACKED
    assert not TRACKED & TRACKED_WITH_PARENT
    assert not (TRACKED | TRACKED_WITH_PARENT) & UNTRACKED


def test_a_kept_answer_is_given_without_computing_and_equals_a_fresh_one(
    client: TestClient, asked: list[str]
) -> None:
    fresh, kept = client.get("/"), client.get("/")
    assert asked == ["overview"]
    assert kept.content == fresh.content
    different = {"x-request-id", "date"}
    headers = [
        {k: v for k, v in answer.headers.items() if k not in different} for answer in (fresh, kept)
    ]
    assert headers[0] == headers[1]
    assert kept.headers["x-request-id"] != fresh.headers["x-request-id"]
    assert kept.headers["content-security-policy"]
    assert client.get("/", headers={"If-None-Match": fresh.headers["etag"]}).status_code == 304
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == fresh.content
    assert asked == ["overview"] * 2


def test_who_asks_and_how_makes_another_answer(client: TestClient, asked: list[str]) -> None:
    pages = [
        client.get("/").text,
        client.get("/", headers={"Cookie": "theme=dark"}).text,
        client.get("/", headers={"Host": "localhost:8000"}).text,
    ]
    assert asked == ["overview"] * 3
    assert 'data-theme="dark"' in pages[1]
    assert "http://localhost:8000" in pages[2] or pages[2] == pages[0]
    assert client.get("/?theme=light").text != pages[0]


def test_an_annotation_shows_at_once(client: TestClient, asked: list[str]) -> None:
    path = f"/api/v1/clusterings/{_clustering(client)}/clusters"
    cluster = client.get(path).json()["clusters"][0]["id"]
    client.get(path)
    assert asked.count("list_clusters") == 1
    for label in ("first words", "other words", ""):
        body = {"label": label, "note": "", "tags": []}
        sent = client.put(f"/api/v1/clusters/{cluster}/annotation", json=body, headers=OWN)
        assert sent.status_code == 200
        assert client.get(path).json()["clusters"][0]["label"] == label
        assert client.get(f"/api/v1/clusters/{cluster}").json()["annotation"]["label"] == label


def _clustering(client: TestClient) -> int:
    return int(client.get("/api/v1/clusterings").json()["clusterings"][0]["id"])


def test_what_another_process_commits_shows_at_once(
    client: TestClient, writable_store: Store
) -> None:
    before = client.get("/api/v1/suites").json()["suites"]
    with writable_store.begin() as session:
        row = session.query(Evaluation).order_by(Evaluation.id.desc()).first()
        assert row is not None
        row.completed_at = None
    assert client.get("/api/v1/suites").json()["suites"] != before
    with writable_store.begin() as session:
        session.get_one(Evaluation, row.id).completed_at = now()
    assert client.get("/api/v1/suites").json()["suites"] == before
    with writable_store.begin() as session:
        session.query(Suite).one().description += " and more"
    assert client.get("/api/v1/suites").json()["suites"][0]["description"].endswith(" and more")


def test_progress_of_jobs_leaves_kept_answers_alone(
    client: TestClient, writable_store: Store, asked: list[str]
) -> None:
    versions = Versions(writable_store.engine)
    first = versions.current()
    client.get("/")
    sent = client.post(
        "/api/v1/jobs",
        json={
            "kind": "measure",
            "parameters": {
                "corpus": client.get("/api/v1/corpora").json()["corpora"][0]["id"],
                "document": 1,
                "target": "⏎",
            },
        },
        headers=OWN,
    )
    assert sent.status_code == 202
    assert versions.current() == first
    client.get("/")
    assert asked == ["overview"]
    jobs = client.get("/api/v1/jobs").json()["jobs"]
    assert [job["id"] for job in jobs] == [sent.json()["id"]]


def test_a_search_that_ran_out_of_time_is_not_kept(
    client: TestClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = search.search
    monkeypatch.setattr(search, "search", lambda store, wanted: real(store, wanted, 0.0))
    for _ in range(2):
        assert client.get("/api/v1/predictions?text=the").json()["truncated"]
    assert asked == ["search"] * 2
    monkeypatch.setattr(search, "search", real)
    for _ in range(2):
        assert not client.get("/api/v1/predictions?text=the").json()["truncated"]
    assert asked == ["search"] * 3


def test_kept_answers_take_a_bounded_room(
    writable_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.response_cache.MAX_BYTES", 150_000)
    made: list[ResponseCache] = []

    class Seen(ResponseCache):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(app.main, "ResponseCache", Seen)
    client = local_client(create_app(writable_store))
    for path in ("/", "/glossary", "/api", "/scaling", "/api/v1/suites", "/predictions"):
        assert client.get(path, headers={"Accept-Encoding": "identity"}).status_code == 200
        (kept,) = made
        assert kept.n_bytes == sum(len(entry.body) for entry in kept.entries.values()) <= 150_000
    assert kept.entries


def test_tables_are_looked_at_only_after_a_commit(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions, looks, real = Versions(any_store.engine), [], Versions._read

    def read(self: Versions) -> str:
        looks.append(1)
        return real(self)

    monkeypatch.setattr(Versions, "_read", read)
    for _ in range(5):
        versions.current()
        with any_store.session() as session:
            session.scalars(select(Suite)).all()  # reading is no change
    assert len(looks) == 1
    with any_store.begin() as session:
        session.add(Suite(name="s", description="d", tokenizer_key=None))
    versions.current()
    assert len(looks) == 2


def test_versions_on_each_database(any_store: Store) -> None:
    versions = Versions(any_store.engine)
    first = versions.current()
    assert versions.current() == first
    with any_store.begin() as session:
        session.add(Suite(name="s", description="d", tokenizer_key=None))
    second = versions.current()
    assert second != first
    with any_store.begin() as session:
        session.query(Suite).one().description = "longer"
    assert versions.current() not in {first, second}
