"""The page of Omnigrok: figures, table and text match the stored run."""

import math
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.figures.omnigrok import law_figure
from app.main import create_app
from backend.experiments.omnigrok.queries import (
    decay_law,
    load_omnigrok_run,
    reduced_landscape,
)
from backend.experiments.omnigrok.spec import OMNIGROK
from backend.experiments.omnigrok.views import OmnigrokCell
from backend.jobs.kinds.registry import validate_params
from backend.progress import Silent
from backend.settings import Settings
from backend.stages.experiments import get_or_create_experiment, run_cells
from backend.store.database import Store, open_store
from tests.app.conftest import local_client
from tests.app.experiment_pages import (
    MAX_PAGE_BYTES,
    count_labels_inside_axes,
    gzipped_page,
    linked_terms,
)
from tests.stores import ONE_CORE

TINY: dict[str, Any] = {"hidden": [12], "n_train": [40], "steps": 240, "learning_rate": 1e-2}
ASKED: dict[str, dict[str, Any]] = {
    "decay": {
        **TINY,
        "alphas": [1, 3],
        "weight_decays": [0, 0.5, 2],
        "learning_rate": 3e-3,
        "steps": 400,
        "train_threshold": 0.5,
        "test_threshold": 0.3,
    },
    "sphere": {**TINY, "alphas": [0.3, 1, 4], "on_sphere": True, "n_train": [20, 40]},
    "part": {**TINY, "alphas": [1, 2, 3], "weight_decays": [0, 1], "steps": 60},
    "begun": {**TINY, "alphas": [1], "steps": 50},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, str]]]:
    """Finished, half finished and begun runs by name."""
    store = open_store(Settings(data_dir=tmp_path_factory.mktemp("omnigrok")))
    names = {}
    for name, params in ASKED.items():
        with store.session() as session:
            parameters = validate_params(store, session, "omnigrok", params)
        get_or_create_experiment(store, OMNIGROK, parameters)
        count = len(OMNIGROK.parse(parameters).places())
        cells = {"part": range(2), "begun": range(0)}.get(name, range(count))
        if cells:
            run_cells(store, OMNIGROK, parameters, cells, ONE_CORE, Silent())
        names[name] = OMNIGROK.public_id(parameters)
    yield store, names
    store.engine.dispose()


@pytest.fixture(scope="module")
def visitor(runs: tuple[Store, dict[str, str]]) -> Iterator[TestClient]:
    with local_client(create_app(runs[0])) as client:
        yield client


@pytest.fixture(scope="module")
def ids(runs: tuple[Store, dict[str, str]]) -> dict[str, str]:
    return runs[1]


def page(client: TestClient, **params: Any) -> str:
    return client.get("/omnigrok", params=params).raise_for_status().text


def drawn(client: TestClient, text: str) -> dict[str, Any]:
    """The figures that a page asks for, by key."""
    figures = {}
    for src, key in re.findall(r'data-src="([^"]*)" data-key="([^"]*)"', text):
        figures[key] = client.get(unescape(src)).raise_for_status().json()[key]
    return figures


def named(figure: dict[str, Any], name: str) -> dict[str, Any]:
    lines = [t for t in figure["data"] if t["name"] == name and "xaxis" not in t]
    assert len(lines) == 1, name
    return dict(lines[0])


def test_a_page_without_runs_offers_the_presets(store: Store) -> None:
    with local_client(create_app(store)) as client:
        text = page(client)
    assert "No run yet" in text
    for preset in OMNIGROK.presets:
        assert f'value="{preset.name}"' in text
    assert 'data-api="/api/v1/experiments?kind=omnigrok"' in text


def test_the_newest_run_with_results_is_shown(visitor: TestClient, ids: dict[str, str]) -> None:
    text = page(visitor)
    assert f'<option value="{ids["part"]}" selected>' in text
    assert f'data-api="/api/v1/experiments/{ids["part"]}"' in text
    assert "2 of 6 cells are finished" in text
    assert text.count("not finished") == 4
    assert 'id="law"' not in text, "nothing of the largest alpha is finished"
    assert "digits, 3 alphas × 2 weight decays, 60 steps (2 of 6 cells)" in text


def test_every_network_has_a_table_row(
    runs: tuple[Store, dict[str, str]], visitor: TestClient, ids: dict[str, str]
) -> None:
    view = load_omnigrok_run(runs[0], ids["decay"])
    text = page(visitor, run=ids["decay"])
    rows = re.findall(r'<th scope="row">.*?</tr>', text.split('id="networks-title"')[1], re.DOTALL)
    assert len(rows) == len(view.cells) == 6
    for row, cell in zip(rows, view.cells, strict=True):
        words = re.sub(r"<[^>]*>", " ", row)
        assert f"α {cell.alpha:g}, decay {cell.weight_decay:g}" in words
        for step in (cell.train_step, cell.test_step):
            assert ("never" if step is None else f" {step} ") in words
        assert cell.test_accuracy is not None
        assert f"{cell.test_accuracy:.3f}" in words
        assert f"{cell.initial_norm:.3g} → {cell.final_norm:.3g}" in words
        assert f"cell={cell.cell}#network" in row


def test_figures_of_a_network_are_its_stored_curves(
    visitor: TestClient, ids: dict[str, str]
) -> None:
    cells = visitor.get(f"/api/v1/experiments/{ids['decay']}").json()["cells"]
    decayed = [cell["cell"] for cell in cells if cell["place"]["weight_decay"] == 2]
    assert len(decayed) == 2
    for cell in decayed:
        figures = drawn(visitor, page(visitor, run=ids["decay"], cell=cell))
        stored = visitor.get(f"/api/v1/experiments/{ids['decay']}/cells/{cell}").json()
        steps, curves = stored["steps"], stored["curves"]
        assert set(figures) == {"accuracy", "loss", "norm", "law"}
        for key, line, curve in (
            ("accuracy", "train", "train_accuracy"),
            ("accuracy", "test", "test_accuracy"),
            ("loss", "test", "test_loss"),
            ("norm", "norm", "norm"),
        ):
            trace = named(figures[key], line)
            assert trace["x"] == [step for step in steps if step > 0]
            assert trace["y"] == curves[curve][1:]
        decay = named(figures["norm"], "decay alone")
        for step, value in zip(decay["x"], decay["y"], strict=True):
            law = curves["norm"][0] * math.exp(-3e-3 * 2 * step)
            assert value is None or value == pytest.approx(law)
        reached = stored["summary"]["train_step"]
        marks = [t for t in figures["accuracy"]["data"] if t["name"] == "train reached"]
        assert [mark["x"] for mark in marks] == ([] if reached is None else [[reached]])


def test_on_the_sphere_the_landscape_is_that_of_the_chosen_size(
    visitor: TestClient, ids: dict[str, str]
) -> None:
    cells = visitor.get(f"/api/v1/experiments/{ids['sphere']}").json()["cells"]
    for size in (20, 40):
        own = [c for c in cells if c["place"]["n_train"] == size]
        for loss in ("final", "best"):
            text = page(visitor, run=ids["sphere"], n_train=size, loss=loss)
            figures = drawn(visitor, text)
            assert set(figures) == {"landscape", "accuracy", "loss"}
            for name in ("train", "test"):
                trace = named(figures["landscape"], name)
                assert trace["x"] == [0.3, 1, 4]
                assert trace["y"] == [c["summary"][f"{loss}_{name}_loss"] for c in own]
            band = named(figures["landscape"], "Goldilocks zone")
            lowest = min(own, key=lambda c: c["summary"][f"{loss}_test_loss"])
            assert min(band["x"]) < lowest["place"]["alpha"] < max(band["x"])
        assert f'<option value="{size}" selected>' in text


def test_labels_are_inside_their_axes(visitor: TestClient, ids: dict[str, str]) -> None:
    for name in ("decay", "sphere"):
        figures = drawn(visitor, page(visitor, run=ids[name]))
        assert sum(count_labels_inside_axes(figure) for figure in figures.values()) >= 4


def network(alpha: float, decay: float, **own: Any) -> OmnigrokCell:
    empty: dict[str, Any] = dict.fromkeys(OmnigrokCell.__dataclass_fields__)
    place = {"cell": 0, "alpha": alpha, "weight_decay": decay, "n_train": 9, "seed": 0}
    return OmnigrokCell(**empty | place | {"test_only": False} | own)


@pytest.mark.parametrize("rate", [1e-3, 3e-2])
def test_the_decay_law_recovers_pure_decay(rate: float) -> None:
    decays = (0.03, 0.1, 0.4)
    steps = {decay: round(math.log(60 / 20) / (rate * decay)) for decay in decays}
    cells = [
        network(8, decay, initial_norm=60.0, test_norm=20.0, test_step=steps[decay], train_step=5)
        for decay in decays
    ]
    law = decay_law([*cells, network(8, 0.0), network(1, 0.5)], 9, rate)
    assert law is not None
    assert [point.weight_decay for point in law.points] == list(decays)
    for point in law.points:
        assert law.rate is not None
        assert law.rate / point.weight_decay == pytest.approx(point.test_step, abs=0.5)
        assert point.product == pytest.approx(law.rate, rel=0.02)
    guide = next(t for t in law_figure(law).to_plotly_json()["data"] if t["name"] == "decay alone")
    assert guide["y"] == pytest.approx([steps[0.03], steps[0.4]], abs=1)


def test_one_decay_makes_no_law_and_unreached_steps_no_points() -> None:
    assert decay_law([network(8, 0.1), network(8, 0.0)], 9, 1e-3) is None
    law = decay_law([network(8, 0.1), network(8, 0.2)], 9, 1e-3)
    assert law is not None
    assert (law.rate, law.points[0].product) == (None, None)
    test = [t for t in law_figure(law).to_plotly_json()["data"] if t["name"] == "test step"]
    assert test[0]["y"] == [None, None]


def test_the_zone_is_where_the_loss_is_at_most_twice_the_lowest() -> None:
    losses = {0.1: 0.09, 0.5: 0.03, 1.0: 0.015, 1.8: 0.02, 3.0: 0.031, 5.0: 0.02}
    cells = [
        network(alpha, 0, initial_norm=8 * alpha, train_loss=0.01, test_loss=loss)
        for alpha, loss in losses.items()
    ]
    landscape = reduced_landscape(cells, 9, "final")
    assert landscape is not None
    assert (landscape.best.alpha, landscape.best.norm) == (1.0, 8.0)
    assert landscape.zone == (0.5, 1.8)  # points beyond a hill are not in the zone
    assert reduced_landscape([network(1, 0)], 9, "final") is None


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"run": "0" * 16}, 404),
        ({"run": "x"}, 422),
        ({"n_train": 7}, 422),
        ({"cell": 99}, 404),
        ({"cell": -1}, 422),
        ({"loss": "worst"}, 422),
    ],
)
def test_unknown_runs_sizes_and_cells_are_refused(
    visitor: TestClient, ids: dict[str, str], params: dict[str, Any], status: int
) -> None:
    answer = visitor.get("/omnigrok", params={"run": ids["decay"], **params})
    assert answer.status_code == status
    if status == 422:
        assert next(iter(params)) in answer.text


def test_a_network_that_is_not_finished_has_no_plots(
    visitor: TestClient, ids: dict[str, str]
) -> None:
    assert 'id="network"' not in page(visitor, run=ids["part"], cell=5)
    unstarted = page(visitor, run=ids["begun"])
    assert "0 of 1 cells are finished" in unstarted
    assert 'class="plot"' not in unstarted


def test_an_unfinished_run_can_be_resubmitted(visitor: TestClient, ids: dict[str, str]) -> None:
    text = page(visitor, run=ids["part"])
    form = text.split('data-part="run-state"')[1].split("</form>")[0]
    fields = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form))
    assert "mnist" not in fields
    answer = visitor.post(
        "/experiments/omnigrok",
        data=fields,
        headers={"Sec-Fetch-Site": "same-origin"},
        follow_redirects=False,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"/omnigrok?run={ids['part']}")


def test_glossary_links_resolve_and_the_page_is_small(
    visitor: TestClient, ids: dict[str, str]
) -> None:
    for name in ("decay", "sphere"):
        text = page(visitor, run=ids[name])
        assert '<a href="/omnigrok" aria-current="page">Omnigrok</a>' in text
        assert linked_terms(visitor, text) == {"goldilocks-zone", "phase-of-learning"}
        assert len(gzipped_page(visitor, "/omnigrok", run=ids[name])) <= MAX_PAGE_BYTES
        assert " style=" not in text
