"""Every page and route on stores whose losses and labels were imported: no text, no gradients."""

import csv
import io
import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from backend.exchange.label_store import LabelsSpec, import_labels
from backend.exchange.losses import LossesSpec, import_losses
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.classify import classify
from backend.store.database import Store, open_store
from backend.store.lookup import corpus_named, suite_named
from tests.app.conftest import local_client
from tests.app.routes import documented

N_PREDICTIONS = 5000
HOSTILE = "</span><script>alert(1)</script>"
LOCAL = {"Origin": "http://127.0.0.1:8000"}


def _losses(store: Store, folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.gamma(0.7, 3, (N_PREDICTIONS, 5)).clip(0, 20))
    sizes_steps = [(10**6, 100), (10**7, 100), (10**8, 100), (10**8, 10), (10**8, 1)]
    models = [{"name": f"m{n}", "nonembedding_parameters": n, "step": s} for n, s in sizes_steps]
    (folder / "m.json").write_text(json.dumps(models))
    spec = LossesSpec(folder / "x.npy", folder / "m.json", "nats", "elsewhere")
    import_losses(store, spec, Silent())
    with store.session() as session:
        corpus, suite = corpus_named(session, "elsewhere"), suite_named(session, "elsewhere")
    classify(store, corpus, suite, Silent())


def _labels(store: Store, folder: Path, name: str, *, with_contexts: bool) -> dict[int, int]:
    rng = np.random.default_rng(1)
    labels = {str(k): [rng.integers(0, k, 400).tolist()] for k in (3, 40)}
    words = [HOSTILE, "\n", " ▁of", "�", "", "{{ 7 * 7 }}", " naïve"]
    contexts = {
        str(1000 + i): {
            "context": [words[j] for j in rng.integers(0, len(words), 6)],
            "answer": words[rng.integers(0, len(words))],
        }
        for i in range(400)
    }
    (folder / "l.json").write_text(json.dumps(labels))
    (folder / "c.json").write_text(json.dumps(contexts))
    spec = LabelsSpec(folder / "l.json", name, folder / "c.json" if with_contexts else None)
    result = import_labels(store, spec, Silent())
    return {k: number for k, (number, _) in result.clusterings.items()}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, Any]]]:
    """A store of imports alone, and the ids of what it holds."""
    folder = tmp_path_factory.mktemp("imported")
    store = open_store(Settings(data_dir=folder / "data"))
    _losses(store, folder)
    by_index = _labels(store, folder, "bare", with_contexts=False)
    told = _labels(store, folder, "told", with_contexts=True)
    yield store, {"by_index": by_index, "told": told}
    store.engine.dispose()


@pytest.fixture(scope="module")
def client(imported: tuple[Store, dict[str, Any]]) -> Iterator[TestClient]:
    with local_client(create_app(imported[0])) as client:
        yield client


@pytest.fixture(scope="module", params=["by_index", "told"])
def names(
    request: pytest.FixtureRequest, imported: tuple[Store, dict[str, Any]], client: TestClient
) -> dict[str, Any]:
    """A value for every parameter, of the clusterings with contexts and of those without."""
    ids = imported[1][request.param]
    clusters = client.get(f"/api/v1/clusterings/{ids[3]}/clusters").json()["clusters"]
    return {
        "corpus": "elsewhere" if request.param == "by_index" else "told",
        "suite": "elsewhere",
        "document": 0,
        "prediction": 7,
        "similarity": 1,
        "clustering": ids[3],
        "cluster": clusters[0]["id"],
        "job": "none",
        "a": ids[3],
        "b": ids[40],
        "experiment": "0" * 16,
        "other": "0" * 16,
        "cell": 0,
        "array": "representation",
        "run": "0" * 16,
    }


def expected_status(path: str, names: dict[str, Any]) -> set[int]:
    """What each documented route answers: never a failure of the server's own."""
    if "similarit" in path or "/jobs/{job}" in path or "{experiment}" in path or "{run}" in path:
        return {404}  # there are no gradients, no jobs and no experiments
    if names["corpus"] == "elsewhere":
        return {404} if "{document}" in path else {200}
    return {404, 409} if path.endswith(("/heat", "/losses", "/scaling")) else {200}


def test_every_documented_route_answers_with_data_or_a_problem(
    client: TestClient, names: dict[str, Any]
) -> None:
    n_checked = 0
    for route in documented(client.app):  # type: ignore[arg-type]
        response = client.get(route.url(names), params=route.query(names))
        assert response.status_code in expected_status(route.path, names), (
            route.path,
            response.text,
        )
        if response.status_code != 200:
            assert response.json()["remedy"]
        n_checked += 1
    assert n_checked >= 20


def pages(names: dict[str, Any]) -> dict[str, int]:
    corpus, cluster, clustering = names["corpus"], names["cluster"], names["clustering"]
    has_text = corpus == "told"
    return {
        "/": 200,
        "/clusterings": 200,
        f"/clusterings/{clustering}": 200,
        f"/clusterings/{clustering}?sort=coherence&descending=true": 200,
        f"/clusterings/{clustering}?sort=n_documents": 200,
        f"/clusterings/{clustering}?answer=x": 200,
        f"/clusterings/{clustering}?min_coherence=0.1": 200,
        f"/clusters/{cluster}": 200,
        f"/clusters/{cluster}?order=loss&colour=loss": 200,
        f"/clusters/{cluster}?order=document&ctx=all&answer=1": 200,
        "/documents": 200,
        f"/documents/{corpus}": 200,
        f"/documents/{corpus}/0": 200 if has_text else 404,
        f"/predictions/{corpus}/7": 200,
        f"/predictions/{corpus}/2000000000": 404,
        "/scaling": 200,
        "/scaling?axis=S": 200,
        f"/figures/clusterings/{clustering}": 200,
        f"/figures/clusters/{cluster}": 200,
        f"/figures/clusters/{cluster}/similarity": 404,
        f"/figures/predictions/{corpus}/7": 200,
        "/figures/scaling?suite=elsewhere&corpus=elsewhere&axis=N": 200,
        "/grokking": 200,
        "/parity": 200,
        f"/parity?run={'0' * 16}": 404,
        f"/grokking?run={'0' * 16}": 404,
        "/omnigrok": 200,
        "/modular-addition": 200,
        f"/modular-addition?run={'0' * 16}": 404,
        "/theory": 200,
        "/figures/theory": 200,
        "/glossary": 200,
        "/api": 200,
    }


def test_every_page_answers_and_runs_no_markup_of_the_contexts(
    client: TestClient, names: dict[str, Any]
) -> None:
    for path, status in pages(names).items():
        response = client.get(path)
        assert response.status_code == status, (path, response.text[:2000])
        assert "<script>alert" not in response.text, path
        assert " None" not in response.text, path
        assert "49" not in response.headers.get("location", "")


def test_links_of_the_pages_lead_somewhere(client: TestClient, names: dict[str, Any]) -> None:
    import re

    seen: set[str] = set()
    for path, status in pages(names).items():
        if status == 200 and not path.startswith("/figures"):
            response = re.findall(r'(?:href|data-src)="(/[^"#]*)', client.get(path).text)
            seen |= {unescape(address) for address in response}
    for address in sorted(seen):
        assert client.get(address).status_code == 200, address
    assert len(seen) > 30


def test_a_prediction_without_text_shows_its_curves(client: TestClient) -> None:
    page = client.get("/predictions/elsewhere/7").text
    assert "imported without text" in page
    assert "Loss by model size" in page
    view = client.get("/api/v1/corpora/elsewhere/predictions/7").json()
    assert (view["token"], view["document"], view["context"]) == (None, None, [])
    assert [curve["axis"] for curve in view["curves"]] == ["N", "S"]
    figures = client.get("/figures/predictions/elsewhere/7").json()
    assert set(figures) == {"curve-N", "curve-S"}


def test_a_corpus_without_text_says_so(client: TestClient) -> None:
    row = client.get("/api/v1/corpora/elsewhere").json()
    assert (row["has_text"], row["tokenizer_key"], row["n_predictions"]) == (False, None, 5000)
    assert "imported without text" in client.get("/documents/elsewhere").text
    problem = client.get("/api/v1/corpora/elsewhere/documents/0").json()
    assert "imported without text" in problem["remedy"]


def test_a_suite_without_weights_says_so(client: TestClient) -> None:
    suite = client.get("/api/v1/suites/elsewhere").json()
    assert not suite["has_weights"]
    checkpoints = [c for model in suite["models"] for c in model["checkpoints"]]
    assert not any(c["has_weights"] for c in checkpoints)
    assert all(c["mean_loss_nats"] is not None for c in checkpoints)
    assert all(model["parameters"] is None for model in suite["models"])
    assert "no weights" in client.get("/").text


def test_imported_clusters_say_that_there_are_no_gradients(
    client: TestClient, names: dict[str, Any]
) -> None:
    assert "no gradients" in client.get(f"/clusterings/{names['clustering']}").text
    page = client.get(f"/clusters/{names['cluster']}").text
    assert "imported as labels, without gradients" in page
    assert "/similarity" not in page
    view = client.get(f"/api/v1/clusters/{names['cluster']}").json()
    assert (view["has_similarity"], view["row"]["coherence"]) == (False, None)
    assert view["selection"]["imported"]


def test_a_person_can_annotate_imported_clusters(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/clusters/{names['cluster']}"
    body = {"label": "a <b>quantum</b>", "note": "", "tags": ["x"]}
    assert client.put(f"{url}/annotation", json=body, headers=LOCAL).status_code == 200
    assert client.get(url).json()["annotation"]["label"] == body["label"]
    assert "<b>quantum" not in client.get(f"/clusters/{names['cluster']}").text
    rows = client.get(
        f"/api/v1/clusterings/{names['clustering']}/clusters", params={"answer": "QUANTUM"}
    ).json()
    assert [row["id"] for row in rows["clusters"]] == [names["cluster"]]


def test_tables_of_imported_clusters_have_a_row_each(
    client: TestClient, names: dict[str, Any]
) -> None:
    for url in (
        f"/api/v1/clusterings/{names['clustering']}/clusters",
        f"/api/v1/clusters/{names['cluster']}/contexts",
    ):
        response = client.get(url, params={"format": "csv"})
        rows = list(csv.DictReader(io.StringIO(response.text)))
        total = client.get(url).json()
        assert len(rows) == total.get("n_matching", total.get("n_members"))
        assert "None" not in response.text


def test_contexts_are_printed_as_they_were_given(client: TestClient, imported: Any) -> None:
    (first, *_) = client.get(f"/api/v1/clusterings/{imported[1]['told'][3]}/clusters").json()[
        "clusters"
    ]
    contexts = client.get(f"/api/v1/clusters/{first['id']}/contexts").json()["contexts"]
    words = {value["token"]["text"] for item in contexts for value in item["tokens"]}
    assert HOSTILE in words
    assert " ▁of" in words
    page = client.get(f"/clusters/{first['id']}").text
    assert HOSTILE in unescape(page)
    assert HOSTILE not in page


def test_the_comparison_of_imported_clusterings_counts_their_samples(
    client: TestClient, names: dict[str, Any]
) -> None:
    view = client.get(f"/api/v1/clusterings/{names['a']}/compare/{names['b']}").json()
    assert view["n_common"] == 400
    assert sum(map(sum, view["overlap"])) == 400
