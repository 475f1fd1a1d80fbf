"""Searches, exports, heat and jobs where losses were imported: what there is, and what is not."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.classify import classify
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named, suite_named
from tests.app.conftest import local_client
from tests.app.test_error_shape import is_problem
from tests.stores import BUNDLED, ONE_CORE, checkpoint_ids, small_corpus

OWN = {"Origin": "http://127.0.0.1:8000"}
N_PREDICTIONS = 3000
TEXTS = {"text": "a", "regex": "a", "token": "a", "token_pattern": "a", "source": "a*"}


def imported(store: Store, folder: Path, n_predictions: int, name: str, corpus: str | None) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.gamma(0.7, 3, (n_predictions, 3)).clip(0, 20))
    models = [{"name": f"m{n}", "nonembedding_parameters": 10**n, "step": 9} for n in (6, 7, 8)]
    (folder / "m.json").write_text(json.dumps(models))
    spec = LossesSpec(folder / "x.npy", folder / "m.json", "nats", name, corpus)
    import_losses(store, spec, Silent())
    with store.session() as session:
        home, suite = corpus_named(session, corpus or name), suite_named(session, name)
    classify(store, home, suite, Silent())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Losses without text as `bare`, and losses `theirs` of the corpus `first-4`."""
    folder = tmp_path_factory.mktemp("imported-search")
    opened = open_store(Settings(data_dir=folder / "data"))
    imported(opened, folder, N_PREDICTIONS, "bare", None)
    corpus = small_corpus(opened, documents=4)
    imported(opened, folder, corpus.n_predictions, "theirs", corpus.name)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with local_client(create_app(store)) as client:
        yield client


def test_curves_without_text_are_searched_by_shape_class_and_score(client: TestClient) -> None:
    request = {"corpus": "bare", "suite": "bare", "preset": "step", "at": 2, "drop_min": 0.5}
    body = client.get("/api/v1/predictions", params=request).json()
    assert 0 < body["n_matching"] < N_PREDICTIONS
    for match in body["matches"]:
        assert (match["document"], match["answer"], match["before"]) == (None, None, [])
        assert match["scores"]["total_drop"] >= 0.5
    page = client.get("/predictions", params=request)
    assert page.status_code == 200
    assert "None" not in page.text
    assert f"/predictions/bare/{body['matches'][0]['index']}" in page.text


@pytest.mark.parametrize("name", [*TEXTS, "document"])
def test_filters_of_text_are_refused_by_name_where_there_is_none(
    client: TestClient, name: str
) -> None:
    request: dict[str, Any] = {"corpus": "bare", "suite": "bare", name: TEXTS.get(name, 0)}
    for path in ("/api/v1/predictions", "/api/v1/predictions/map", "/api/v1/predictions/export"):
        problem = is_problem(client.get(path, params=request), 422)
        assert problem["errors"][0]["parameter"] == name
        assert "imported without text" in problem["detail"]
    page = client.get("/predictions", params=request)
    assert page.status_code == 422
    assert "imported without text" in page.text


def test_what_is_exported_without_text_has_the_curves_alone(client: TestClient) -> None:
    request = {"corpus": "bare", "suite": "bare", "format": "csv", "drop_min": 1}
    answer = client.get("/api/v1/predictions/export", params=request)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert rows
    assert "answer" not in rows[0]
    assert all(float(row["total_drop"]) >= 1 for row in rows)
    assert all(float(row["loss_nats_m6"]) >= 0 for row in rows)


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("measure", {"corpus": "bare", "document": 0, "target": "a"}, "without text"),
        ("paste", {"corpus": "bare", "text": "two words"}, "without text"),
        ("paste", {"suite": "theirs", "text": "two words"}, "no weights"),
        (
            "measure",
            {"corpus": "first-4", "suite": "theirs", "document": 0, "target": "⏎"},
            "no weights",
        ),
    ],
)
def test_jobs_that_need_text_or_weights_are_refused(
    client: TestClient, kind: str, parameters: dict[str, Any], words: str
) -> None:
    sent = {"kind": kind, "parameters": parameters}
    problem = is_problem(client.post("/api/v1/jobs", json=sent, headers=OWN), 422)
    assert words in problem["detail"]


def test_imported_losses_colour_a_document_and_nothing_else_does(client: TestClient) -> None:
    heat = "/api/v1/corpora/first-4/documents/0/heat"
    for measure in ("loss", "p", "difference"):
        response = client.get(heat, params={"suite": "theirs", "measure": measure})
        assert response.status_code == 200, response.text
    for measure in ("rank", "entropy", "p_token"):
        request = {"suite": "theirs", "measure": measure}
        assert "without weights" in is_problem(client.get(heat, params=request), 409)["remedy"]
        page = client.get("/documents/first-4/0", params=request)
        assert page.status_code == 200
        assert "without weights" in page.text
        assert "Compute for every size" not in page.text


def test_jobs_take_the_suite_that_has_weights(store: Store, client: TestClient) -> None:
    add_suite(store, BUNDLED, "mini", "the bundled suite", Silent())
    with store.session() as session:
        corpus = corpus_named(session, "first-4")
    evaluate(store, corpus, checkpoint_ids(store, ("s1", None))[-1:], ONE_CORE, Silent())
    sent = {
        "kind": "measure",
        "parameters": {"corpus": "first-4", "document": 0, "target": "⏎"},
    }
    answer = client.post("/api/v1/jobs", json=sent, headers=OWN)
    assert answer.status_code == 202, answer.text
    assert answer.json()["parameters"]["suite"] == "mini"
