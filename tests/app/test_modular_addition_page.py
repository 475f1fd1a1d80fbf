"""The page of modular addition: networks of a run, its plots, and the circuit at a step."""

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from backend.experiments.modular_addition.queries import attention_shares, load_clock_cell
from backend.experiments.registry import experiment_kind
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.experiments import run_cells, run_experiment
from backend.store.database import Store, open_store
from tests.app.conftest import local_client
from tests.app.experiment_pages import MAX_PAGE_BYTES, gzipped_page, linked_terms
from tests.stores import ONE_CORE

KIND = experiment_kind("modular_addition")
TINY: dict[str, Any] = {
    "p": 7,
    "train_fraction": 0.6,
    "weight_decay": [1.0, 0.0],
    "steps": 80,
    "learning_rate": 0.01,
    "d_model": 8,
    "heads": 2,
    "d_mlp": 16,
}
TRAINING = {"accuracy", "loss", "progress", "pairs", "spectrum", "spectrum-training"}
CIRCUIT = {"circle", "attention", "neurons", "logits"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(Settings(data_dir=tmp_path_factory.mktemp("clock") / "data"))
    yield opened
    opened.close()


def complete(store: Store, **changes: Any) -> dict[str, Any]:
    with store.session() as session:
        return validate_params(store, session, KIND.name, TINY | changes)


@pytest.fixture(scope="module")
def clock(store: Store) -> Iterator[TestClient]:
    with local_client(create_app(store)) as client:
        yield client


@pytest.fixture(scope="module")
def run(store: Store) -> str:
    return run_experiment(store, KIND.name, complete(store), ONE_CORE, Silent())


def sources(page: str) -> dict[str, str]:
    plots = re.findall(r'data-src="([^"]*)" data-key="([^"]*)"', page)
    return {key: unescape(source) for source, key in plots}


def drawn(clock: TestClient, page: str, key: str) -> Any:
    return clock.get(sources(page)[key]).raise_for_status().json()[key]


def test_an_empty_store_offers_presets(tmp_path: Any) -> None:
    empty = open_store(Settings(data_dir=tmp_path / "data"))
    with local_client(create_app(empty)) as client:
        page = client.get("/modular-addition").raise_for_status().text
    empty.close()
    assert "No run yet" in page
    for preset in KIND.presets:
        assert f'name="preset" value="{preset.name}"' in page
    assert sources(page) == {}


@pytest.mark.parametrize("cell", [0, 1])
def test_every_plot_has_a_figure_with_data(clock: TestClient, run: str, cell: int) -> None:
    page = clock.get("/modular-addition", params={"run": run, "cell": cell}).raise_for_status().text
    assert set(sources(page)) == TRAINING | CIRCUIT
    for key in sources(page):
        traces = drawn(clock, page, key)["data"]
        assert traces, key
        for trace in traces:
            assert trace.get("z") or len(trace["x"]) == len(trace["y"]) > 0, (key, trace["name"])
    body = gzipped_page(clock, "/modular-addition", run=run, cell=cell)
    assert len(body) <= MAX_PAGE_BYTES


def test_the_page_shows_the_newest_run_and_names_its_networks(clock: TestClient, run: str) -> None:
    page = clock.get("/modular-addition").text
    assert page.count(run) > 3
    for name in ("weight decay 1", "weight decay 0"):
        assert re.search(rf'<a href="[^"]*cell=\d[^"]*"[^>]*>{name}</a>', page)
    accuracy = drawn(clock, page, "accuracy")["data"]
    others = [t for t in accuracy if t["name"].startswith("test, weight decay")]
    assert {t["line"]["dash"] for t in others} == {"dashdot"}, "the control is drawn beside it"


def test_unfinished_networks_are_marked(clock: TestClient, store: Store) -> None:
    params = complete(store, seed=[7])
    run_cells(store, KIND, params, (1,), ONE_CORE, Silent())
    name = KIND.public_id(params)
    page = clock.get("/modular-addition", params={"run": name}).raise_for_status().text
    assert "not finished" in page
    assert "1 of 2 cells are finished" in page
    assert set(sources(page)) == TRAINING | CIRCUIT, "the finished one is shown"
    waiting = (
        clock.get("/modular-addition", params={"run": name, "cell": 0}).raise_for_status().text
    )
    assert "This network is not finished yet" in waiting
    assert sources(waiting) == {}


def test_the_circuit_is_of_the_last_evaluation_at_or_before_a_step(
    clock: TestClient, run: str
) -> None:
    steps = clock.get(f"/api/v1/experiments/{run}/cells/0").json()["steps"]
    page = clock.get("/modular-addition", params={"run": run, "cell": 0, "step": steps[5]}).text
    assert f'<span data-part="circuit-step">{steps[5]}</span>' in page
    between = clock.get("/modular-addition", params={"run": run, "cell": 0, "step": 10**9}).text
    assert f'<span data-part="circuit-step">{steps[-1]}</span>' in between
    early, late = (drawn(clock, html, "circle") for html in (page, between))
    assert early["data"][-1]["x"] != late["data"][-1]["x"]
    assert early["layout"]["xaxis"]["range"] == late["layout"]["xaxis"]["range"], "frame stays"


def test_a_chosen_head_or_neuron_is_drawn_alone(clock: TestClient, run: str) -> None:
    detail = clock.get(f"/api/v1/experiments/{run}/cells/0").json()
    neurons, planes = detail["summary"]["drawn_neurons"], detail["summary"]["planes"]
    base: dict[str, Any] = {"run": run, "cell": 0}
    all_parts = clock.get("/modular-addition", params=base).text
    assert len(drawn(clock, all_parts, "attention")["data"]) == 4
    assert len(drawn(clock, all_parts, "neurons")["data"]) == len(neurons)
    page = clock.get("/modular-addition", params={**base, "head": 1, "neuron": neurons[3]}).text
    assert [t["name"] for t in drawn(clock, page, "attention")["data"]] == ["1 → a", "1 → b"]
    (neuron,) = drawn(clock, page, "neurons")["data"]
    assert neuron["name"].startswith(f"{neurons[3]}, k ")
    other = clock.get("/modular-addition", params={**base, "k": planes[-1]}).text
    assert f"frequency {planes[-1]}." in other
    components = clock.get("/modular-addition", params={**base, "k": "pc"}).text
    assert "first component" in json.dumps(drawn(clock, components, "circle")["layout"])


def test_the_circle_joins_neighbours(store: Store, clock: TestClient, run: str) -> None:
    view = load_clock_cell(store, run, 0)
    page = clock.get("/modular-addition", params={"run": run, "cell": 0, "k": 2}).text
    numbers = [
        int(word.split()[1]) for word in drawn(clock, page, "circle")["data"][1]["customdata"]
    ]
    assert sorted(numbers) == list(range(view.p))
    assert {(2 * b - 2 * a) % 7 for a, b in pairwise(numbers)} == {1}


def test_attention_to_the_three_positions_sums_to_one() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 11)) * 5
    shares = attention_shares(scores, 5)
    assert shares.shape == (2, 2, 5, 5)
    a, b = 3, 1
    three = np.exp([scores[1, a], scores[1, 5 + b], scores[1, 10]])
    assert shares[1, :, a, b] == pytest.approx(three[:2] / three.sum())
    assert shares.sum(axis=1).max() < 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"run": "0" * 16}, 404),
        ({"run": "nothing"}, 422),
        ({"cell": 5}, 404),
        ({"cell": -1}, 422),
        ({"k": "9"}, 422),
        ({"k": "0"}, 422),
        ({"k": "two"}, 422),
        ({"head": 2}, 422),
        ({"neuron": 99}, 422),
        ({"step": "soon"}, 422),
    ],
)
def test_unknown_runs_cells_and_parts_are_refused(
    clock: TestClient, run: str, changes: dict[str, Any], status: int
) -> None:
    params = {"run": run, "cell": 0, **changes}
    assert clock.get("/modular-addition", params=params).status_code == status
    if "run" not in changes and "cell" not in changes:
        path = f"/figures/modular-addition/{run}/cells/0/circuit"
        assert clock.get(path, params=changes).status_code == status


def test_the_page_names_the_call_that_gives_its_data(clock: TestClient, run: str) -> None:
    page = clock.get("/modular-addition", params={"run": run, "cell": 1}).text
    (path,) = re.findall(r'data-api="([^"]*)"', page)
    assert path == f"/api/v1/experiments/{run}/cells/1"
    assert clock.get(path).json()["place"]["weight_decay"] == 0
    assert f"client.experiment_cell(&#34;{run}&#34;, 1)" in page


def test_glossary_links_resolve(clock: TestClient, run: str) -> None:
    page = clock.get("/modular-addition", params={"run": run}).text
    terms = {"clock", "key-frequency", "restricted-loss", "excluded-loss"}
    assert linked_terms(clock, page) >= terms


def test_the_former_address_redirects(clock: TestClient, run: str) -> None:
    answer = clock.get("/clock", params={"run": run, "head": 1}, follow_redirects=False)
    assert answer.status_code == 301
    assert answer.headers["location"] == f"/modular-addition?run={run}&head=1"
    assert clock.get("/clock", follow_redirects=False).headers["location"] == "/modular-addition"
    former = f"/figures/clock/{run}/cells/0/looks?k=1"
    answer = clock.get(former, follow_redirects=False)
    assert answer.status_code == 301
    assert answer.headers["location"] == f"/figures/modular-addition/{run}/cells/0/circuit?k=1"


def test_a_diverged_network_shows_only_its_curves(
    store: Store, clock: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "isfinite", lambda values: np.zeros(np.shape(values), bool))
    params = complete(store, seed=[8], weight_decay=[0.0])
    name = run_experiment(store, KIND.name, params, ONE_CORE, Silent())
    monkeypatch.undo()
    page = clock.get("/modular-addition", params={"run": name}).raise_for_status().text
    assert "This network has diverged" in page
    assert set(sources(page)) == {"accuracy", "loss"}
    assert clock.get(f"/figures/modular-addition/{name}/cells/0/circuit").status_code == 404
