"""A client over a copy of the miniature store, and the ids that its lists give."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.client import Client
from app.main import create_app
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.experiments import run_experiment
from backend.store.database import Store, open_store
from tests.app.serving import served
from tests.stores import ONE_CORE, SMALL_PARITY, copy_store

LOCAL = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50_000)}


def local_client(app: FastAPI, **options: Any) -> TestClient:
    """A client on the same machine as the server."""
    return TestClient(app, **{**LOCAL, **options})


@pytest.fixture(scope="session")
def app_store(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A copy of the miniature store, because annotations change it."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("app") / "data")
    store = open_store(Settings(data_dir=folder))
    yield store
    store.engine.dispose()


@pytest.fixture(scope="session")
def app(app_store: Store) -> FastAPI:
    return create_app(app_store)


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with local_client(app) as client:
        yield client


@pytest.fixture(scope="session")
def over_http(app: FastAPI) -> Iterator[Client]:
    """The Python client of a server over the same store."""
    with served(app) as url, Client(url, token="") as client:
        yield client


@pytest.fixture(scope="session")
def parity_run(app_store: Store) -> str:
    """A small run of sparse parity: two alphas, four widths, fresh data and fixed samples."""
    with app_store.session() as session:
        params = validate_params(app_store, session, "sparse_parity", SMALL_PARITY)
    return run_experiment(app_store, "sparse_parity", params, ONE_CORE, Silent())


@pytest.fixture(scope="session")
def names(client: TestClient, parity_run: str) -> dict[str, Any]:
    """A value for every path parameter and every required query parameter."""
    clusterings = [row["id"] for row in client.get("/api/v1/clusterings").json()["clusterings"]]
    clusters = client.get(f"/api/v1/clusterings/{clusterings[0]}/clusters").json()["clusters"]
    view = client.get(f"/api/v1/clusterings/{clusterings[0]}").json()
    corpus = client.get("/api/v1/corpora").json()["corpora"][0]["id"]
    request = {"kind": "measure", "parameters": {"corpus": corpus, "document": 1, "target": "⏎"}}
    job = client.post("/api/v1/jobs", json=request, headers={"Sec-Fetch-Site": "none"}).json()
    request = {"kind": "phase_diagram"}
    experiment = client.get("/api/v1/experiments", params=request).json()["experiments"][0]
    return {
        "job": job["id"],
        "corpus": corpus,
        "suite": client.get("/api/v1/suites").json()["suites"][0]["id"],
        "document": 0,
        "prediction": 0,
        "similarity": view["similarity_id"],
        "clustering": clusterings[0],
        "cluster": clusters[0]["id"],
        "a": clusterings[0],
        "b": clusterings[-1],
        "experiment": experiment["id"],
        "other": experiment["id"],
        "cell": 0,
        "array": "representation",
        "run": parity_run,
    }
