"""Health, metrics and the access log."""

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api import operation
from app.main import create_app
from backend.store.database import Store
from tests.app.conftest import local_client
from tests.app.test_error_shape import is_problem


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["status"] == "ready"


def test_an_older_schema_is_not_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.store.database.revisions", lambda _engine: ("0000", "0001"))
    assert "quanta db upgrade" in is_problem(client.get("/readyz"), 503)["remedy"]
    assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_by_route_template(app_store: Store, names: dict[str, Any]) -> None:
    client = local_client(create_app(app_store))
    for path in (f"/api/v1/corpora/{names['corpus']}", "/api/v1/corpora/no-such-name", "/x/y"):
        client.get(path)
    client.request("BREW", "/healthz")
    text = client.get("/metrics").text
    route = 'method="GET",route="/api/v1/corpora/{corpus}"'
    assert f'quanta_http_requests_total{{{route},status="200"}} 1.0' in text
    assert f'quanta_http_requests_total{{{route},status="404"}} 1.0' in text
    assert 'route="unmatched",status="404"} 1.0' in text
    assert "BREW" not in text
    assert "process_resident_memory_bytes" in text
    assert "quanta_http_request_duration_seconds_bucket" in text


def test_the_access_log_is_one_json_object_a_request(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quanta.access")
    response = local_client(app).get("/api/v1/corpora/no%0Aname?secret=1")
    (record,) = [r for r in caplog.records if r.name == "quanta.access"]
    assert "\n" not in record.message
    line = json.loads(record.message)
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["status"], line["method"]) == (422, "GET")
    assert line["route"] == "/api/v1/corpora/{corpus}"
    assert "secret" not in record.message


@pytest.mark.parametrize(
    ("sent", "retained"), [("trace-1.a", True), ("bad id\n", False), ("", False)]
)
def test_a_request_id_is_kept_if_it_is_harmless(
    client: TestClient, sent: str, retained: bool
) -> None:
    headers = {"X-Request-ID": sent.strip("\n") + (";" if not retained else "")}
    answered = client.get("/healthz", headers=headers).headers["x-request-id"]
    assert (answered == sent) is retained
    assert answered


def test_an_unexpected_failure_is_logged_with_its_request_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_words: str) -> operation.Health:
        raise RuntimeError("cause")

    monkeypatch.setattr(operation, "Health", failing)
    document = is_problem(client.get("/healthz"), 500)
    (record,) = [r for r in caplog.records if r.name == "quanta.errors"]
    assert document["request_id"] in record.message
    assert record.exc_info is not None
