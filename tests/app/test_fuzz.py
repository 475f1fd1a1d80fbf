"""Whatever the OpenAPI document allows or forbids to be sent, the server answers as it says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api import job_events
from app.main import create_app
from backend.store.database import Store
from tests.app.conftest import local_client
from tests.app.fuzzing import Findings, fuzzed
from tests.app.test_server import served


@pytest.fixture
def fuzz_client(writable_store: Store) -> Iterator[TestClient]:
    with local_client(create_app(writable_store)) as client:
        yield client


@pytest.fixture
def fuzz_names(fuzz_client: TestClient) -> dict[str, Any]:
    """Values that find something in a store of its own."""
    client = fuzz_client
    clustering = client.get("/api/v1/clusterings").json()["clusterings"][0]["id"]
    view = client.get(f"/api/v1/clusterings/{clustering}").json()
    rows = client.get(f"/api/v1/clusterings/{clustering}/clusters").json()["clusters"]
    corpus = client.get("/api/v1/corpora").json()["corpora"][0]["id"]
    suite = client.get("/api/v1/suites").json()["suites"][0]
    params = {"kind": "measure", "parameters": {"corpus": corpus, "document": 1, "target": "⏎"}}
    job = client.post("/api/v1/jobs", json=params, headers={"Sec-Fetch-Site": "none"}).json()
    existing = {"corpus": corpus, "suite": suite["id"], "model": "s3", "step": 2000, "document": 0}
    existing |= {"clustering": clustering, "a": clustering, "b": clustering, "prediction": 0}
    return existing | {
        "cluster": rows[0]["id"],
        "similarity": view["similarity_id"],
        "job": job["id"],
        "target": "⏎",
    }


def fuzz(
    client: TestClient, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, n: int, seed: int
) -> Findings:
    # Jobs are queued here and never run: their streams would each last ten minutes.
    monkeypatch.setattr(job_events, "LONGEST_SECONDS", 0.1)
    document = client.get("/api/v1/openapi.json").json()
    with served(client.app) as url:  # type: ignore[arg-type]
        result = fuzzed(document, url, names, n, seed)
    print(result)
    assert result.n_cases >= n
    assert len(result.operations) == sum(len(methods) for methods in document["paths"].values())
    assert result.statuses[200] > n // 10, "many requests find something"
    assert min(result.modes.values()) > n // 5
    assert result.failures == {}, json.dumps([*result.failures.values()], indent=1)[:20_000]
    return result


@pytest.mark.slow
def test_a_thousand_requests_are_answered_as_documented(
    fuzz_client: TestClient, fuzz_names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz(fuzz_client, fuzz_names, monkeypatch, 1_000, seed=1)


@pytest.mark.soak
def test_twenty_thousand_requests_are_answered_as_documented(
    fuzz_client: TestClient, fuzz_names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz(fuzz_client, fuzz_names, monkeypatch, 20_000, seed=100)
