"""The Clock page: networks of a run, its plots, and the circuit at the look that is asked for."""

import gzip
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
LOOKS = {"circle", "attention", "neurons", "logits"}


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
    found = re.findall(r'data-src="([^"]*)" data-key="([^"]*)"', page)
    return {key: unescape(source) for source, key in found}


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
    assert set(sources(page)) == TRAINING | LOOKS
    for key in sources(page):
        traces = drawn(clock, page, key)["data"]
        assert traces, key
        for trace in traces:
            assert trace.get("z") or len(trace["x"]) == len(trace["y"]) > 0, (key, trace["name"])
    assert len(gzip.compress(page.encode())) < 30_000


def test_the_page_is_that_of_the_newest_run_and_names_its_networks(
    clock: TestClient, run: str
) -> None:
    page = clock.get("/modular-addition").text
    assert page.count(run) > 3
    for name in ("weight decay 1", "weight decay 0"):
        assert re.search(rf'<a href="[^"]*cell=\d[^"]*"[^>]*>{name}</a>', page)
    accuracy = drawn(clock, page, "accuracy")["data"]
    others = [t for t in accuracy if t["name"].startswith("test, weight decay")]
    assert {t["line"]["dash"] for t in others} == {"dashdot"}, "the control is drawn beside it"


def test_what_is_not_finished_says_so(clock: TestClient, store: Store) -> None:
    asked = complete(store, seed=[7])
    run_cells(store, KIND, asked, (1,), ONE_CORE, Silent())
    name = KIND.public_id(asked)
    page = clock.get("/modular-addition", params={"run": name}).raise_for_status().text
    assert "not finished" in page
    assert "1 of 2 cells are finished" in page
    assert set(sources(page)) == TRAINING | LOOKS, "the finished one is shown"
    waiting = (
        clock.get("/modular-addition", params={"run": name, "cell": 0}).raise_for_status().text
    )
    assert "This network is not finished yet" in waiting
    assert sources(waiting) == {}


def test_the_look_is_the_last_at_or_before_a_step(clock: TestClient, run: str) -> None:
    steps = clock.get(f"/api/v1/experiments/{run}/cells/0").json()["steps"]
    page = clock.get("/modular-addition", params={"run": run, "cell": 0, "step": steps[5]}).text
    assert f'<span data-part="circuit-step">{steps[5]}</span>' in page
    between = clock.get("/modular-addition", params={"run": run, "cell": 0, "step": 10**9}).text
    assert f'<span data-part="circuit-step">{steps[-1]}</span>' in between
    early, late = (drawn(clock, one, "circle") for one in (page, between))
    assert early["data"][-1]["x"] != late["data"][-1]["x"]
    assert early["layout"]["xaxis"]["range"] == late["layout"]["xaxis"]["range"], "frame stays"


def test_a_choice_is_drawn_alone(clock: TestClient, run: str) -> None:
    detail = clock.get(f"/api/v1/experiments/{run}/cells/0").json()
    neurons, planes = detail["summary"]["drawn_neurons"], detail["summary"]["planes"]
    base: dict[str, Any] = {"run": run, "cell": 0}
    whole = clock.get("/modular-addition", params=base).text
    assert len(drawn(clock, whole, "attention")["data"]) == 4
    assert len(drawn(clock, whole, "neurons")["data"]) == len(neurons)
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


def test_attention_to_the_three_positions_is_all_there_is() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 11)) * 5
    found = attention_shares(scores, 5)
    assert found.shape == (2, 2, 5, 5)
    a, b = 3, 1
    three = np.exp([scores[1, a], scores[1, 5 + b], scores[1, 10]])
    assert found[1, :, a, b] == pytest.approx(three[:2] / three.sum())
    assert found.sum(axis=1).max() < 1


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
def test_what_is_not_there_is_refused(
    clock: TestClient, run: str, changes: dict[str, Any], status: int
) -> None:
    asked = {"run": run, "cell": 0, **changes}
    assert clock.get("/modular-addition", params=asked).status_code == status
    if "run" not in changes and "cell" not in changes:
        path = f"/figures/modular-addition/{run}/cells/0/circuit"
        assert clock.get(path, params=changes).status_code == status


def test_the_page_names_the_call_that_gives_its_data(clock: TestClient, run: str) -> None:
    page = clock.get("/modular-addition", params={"run": run, "cell": 1}).text
    (path,) = re.findall(r'data-api="([^"]*)"', page)
    assert path == f"/api/v1/experiments/{run}/cells/1"
    assert clock.get(path).json()["place"]["weight_decay"] == 0
    assert f"client.experiment_cell(&#34;{run}&#34;, 1)" in page


def test_its_words_are_in_the_glossary(clock: TestClient, run: str) -> None:
    page = clock.get("/modular-addition", params={"run": run}).text
    glossary = clock.get("/glossary").text
    anchors = set(re.findall(r'href="/glossary#([^"]+)"', page))
    assert {"clock", "key-frequency", "restricted-loss", "excluded-loss"} <= anchors
    for anchor in anchors:
        assert f'id="{anchor}"' in glossary, anchor


def test_a_network_that_diverged_shows_its_curves_alone(
    store: Store, clock: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "isfinite", lambda values: np.zeros(np.shape(values), bool))
    asked = complete(store, seed=[8], weight_decay=[0.0])
    name = run_experiment(store, KIND.name, asked, ONE_CORE, Silent())
    monkeypatch.undo()
    page = clock.get("/modular-addition", params={"run": name}).raise_for_status().text
    assert "This network has diverged" in page
    assert set(sources(page)) == {"accuracy", "loss"}
    assert clock.get(f"/figures/modular-addition/{name}/cells/0/circuit").status_code == 404
