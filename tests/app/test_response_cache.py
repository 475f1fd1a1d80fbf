"""Cached responses: the same bytes as fresh ones, and never older than the store."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

import app.main
from app.main import create_app
from app.web.response_cache import ResponseCache
from backend.quanta import cluster_list, overview
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
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the queries that ran."""
    names: list[str] = []

    def record(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **keywords: Any) -> Any:
            names.append(name)
            return original(*args, **keywords)

        monkeypatch.setattr(module, name, call)

    record(overview, "overview")
    record(cluster_list, "list_clusters")
    record(search, "search")
    return names


def test_every_table_is_tracked_or_untracked_on_purpose() -> None:
    assert set(Base.metadata.tables) == TRACKED | TRACKED_WITH_PARENT | UNTRACKED
    assert not TRACKED & TRACKED_WITH_PARENT
    assert not (TRACKED | TRACKED_WITH_PARENT) & UNTRACKED


def test_a_cached_response_is_not_computed_and_equals_a_fresh_one(
    client: TestClient, calls: list[str]
) -> None:
    fresh, cached = client.get("/"), client.get("/")
    assert calls == ["overview"]
    assert cached.content == fresh.content
    different = {"x-request-id", "date"}
    headers = [
        {k: v for k, v in response.headers.items() if k not in different}
        for response in (fresh, cached)
    ]
    assert headers[0] == headers[1]
    assert cached.headers["x-request-id"] != fresh.headers["x-request-id"]
    assert cached.headers["content-security-policy"]
    assert client.get("/", headers={"If-None-Match": fresh.headers["etag"]}).status_code == 304
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == fresh.content
    assert calls == ["overview"] * 2


def test_cookies_and_hosts_have_their_own_responses(client: TestClient, calls: list[str]) -> None:
    pages = [
        client.get("/").text,
        client.get("/", headers={"Cookie": "theme=dark"}).text,
        client.get("/", headers={"Host": "localhost:8000"}).text,
    ]
    assert calls == ["overview"] * 3
    assert 'data-theme="dark"' in pages[1]
    assert "http://localhost:8000" in pages[2] or pages[2] == pages[0]
    assert client.get("/?theme=light").text != pages[0]


def test_an_annotation_shows_at_once(client: TestClient, calls: list[str]) -> None:
    path = f"/api/v1/clusterings/{_clustering(client)}/clusters"
    cluster = client.get(path).json()["clusters"][0]["id"]
    client.get(path)
    assert calls.count("list_clusters") == 1
    for label in ("first words", "other words", ""):
        body = {"label": label, "note": "", "tags": []}
        sent = client.put(f"/api/v1/clusters/{cluster}/annotation", json=body, headers=OWN)
        assert sent.status_code == 200
        assert client.get(path).json()["clusters"][0]["label"] == label
        assert client.get(f"/api/v1/clusters/{cluster}").json()["annotation"]["label"] == label


def _clustering(client: TestClient) -> int:
    return int(client.get("/api/v1/clusterings").json()["clusterings"][0]["id"])


def test_a_commit_of_another_process_shows_at_once(
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


def test_progress_of_jobs_does_not_invalidate(
    client: TestClient, writable_store: Store, calls: list[str]
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
    assert calls == ["overview"]
    jobs = client.get("/api/v1/jobs").json()["jobs"]
    assert [job["id"] for job in jobs] == [sent.json()["id"]]


def test_a_search_that_ran_out_of_time_is_not_cached(
    client: TestClient, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = search.search
    monkeypatch.setattr(search, "search", lambda store, request: original(store, request, 0.0))
    for _ in range(2):
        assert client.get("/api/v1/predictions?text=the").json()["truncated"]
    assert calls == ["search"] * 2
    monkeypatch.setattr(search, "search", original)
    for _ in range(2):
        assert not client.get("/api/v1/predictions?text=the").json()["truncated"]
    assert calls == ["search"] * 3


def test_the_cache_has_a_bounded_size(
    writable_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.response_cache.MAX_BYTES", 150_000)
    caches: list[ResponseCache] = []

    class Recorded(ResponseCache):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            caches.append(self)

    monkeypatch.setattr(app.main, "ResponseCache", Recorded)
    client = local_client(create_app(writable_store))
    for path in ("/", "/glossary", "/api", "/scaling", "/api/v1/suites", "/predictions"):
        assert client.get(path, headers={"Accept-Encoding": "identity"}).status_code == 200
        (cache,) = caches
        assert cache.n_bytes == sum(len(entry.body) for entry in cache.entries.values()) <= 150_000
    assert cache.entries


def test_tables_are_read_only_after_a_commit(
    any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions, reads, original = Versions(any_store.engine), [], Versions._read

    def read(self: Versions) -> str:
        reads.append(1)
        return original(self)

    monkeypatch.setattr(Versions, "_read", read)
    for _ in range(5):
        versions.current()
        with any_store.session() as session:
            session.scalars(select(Suite)).all()  # reading changes nothing
    assert len(reads) == 1
    with any_store.begin() as session:
        session.add(Suite(name="s", description="d", tokenizer_key=None))
    versions.current()
    assert len(reads) == 2


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
