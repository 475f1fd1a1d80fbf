"""The page of phase diagrams, its figures, and the API of experiments."""

import math
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from backend.experiments.grokking import queries as phase_diagrams
from backend.progress import Silent
from backend.stages.experiments import run_experiment
from backend.store.database import Store
from tests.stores import ONE_CORE

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def fraction(app_store: Store) -> str:
    params = {"p": [6], "draws": 20, "seed": 0}
    return run_experiment(app_store, "critical_fraction", params, ONE_CORE, Silent())


def test_the_page_shows_every_cell_with_letter_and_address(
    client: TestClient, app_store: Store, names: dict[str, Any]
) -> None:
    name = names["experiment"]
    page = client.get("/grokking", params={"run": name}).text
    view = phase_diagrams.load_phase_diagram(app_store, name)
    for cell in view.cells:
        link = re.search(rf'class="ph ph-{cell.phase}"[^>]*href="([^"]*cell={cell.cell})"', page)
        assert link is not None, cell
        assert client.get(link[1].replace("&amp;", "&")).status_code == 200
    assert f"/api/v1/phase-diagrams/{name}" in page


def test_every_plot_of_the_page_has_a_figure_with_data(
    client: TestClient, names: dict[str, Any], fraction: str
) -> None:
    page = client.get("/grokking", params={"run": names["experiment"], "cell": 3, "of": "rqi"}).text
    plots = re.findall(r'data-src="([^"]+)" data-key="([a-z]+)"', page)
    keys = {key for _, key in plots}
    assert keys >= {"accuracy", "loss", "rqi", "representation", "theory", "contour", "fraction"}
    assert fraction in page
    for address, key in plots:
        drawn = client.get(address.replace("&amp;", "&")).raise_for_status().json()
        assert all(len(trace["x"]) for trace in drawn[key]["data"]), key


@pytest.mark.parametrize("which", ["train", "test", "rqi"])
def test_the_contour_shows_the_steps_of_the_chosen_threshold(
    client: TestClient, names: dict[str, Any], app_store: Store, which: str
) -> None:
    name = names["experiment"]
    contour = client.get(f"/figures/grokking/{name}", params={"of": which}).json()["contour"]
    view = phase_diagrams.load_phase_diagram(app_store, name)
    steps = [getattr(cell, f"{which}_step") for cell in view.cells]
    expected = [None if step is None else math.log10(max(step, 1)) for step in steps]
    assert [value for row in contour["data"][0]["z"] for value in row] == pytest.approx(expected)


def test_csv_and_svg_hold_every_cell(
    client: TestClient, names: dict[str, Any], app_store: Store
) -> None:
    name = names["experiment"]
    view = phase_diagrams.load_phase_diagram(app_store, name)
    path = f"/api/v1/phase-diagrams/{name}"
    lines = client.get(path, params={"format": "csv"}).text.splitlines()
    assert lines[0].startswith("cell,lr_representation,lr_decoder,phase,test_only,train_step")
    assert [line.split(",")[3] for line in lines[1:]] == [cell.phase for cell in view.cells]
    picture = client.get(f"/grokking/{name}/map.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    root = ElementTree.fromstring(picture.text)
    letters = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert letters[: len(view.cells)] == [
        f"{cell.phase}{'*' if cell.test_only else ''}" for cell in view.cells
    ]


def test_a_finer_grid_starts_inside_a_rectangle(client: TestClient, names: dict[str, Any]) -> None:
    name = names["experiment"]
    fields = {"x_low": "0.001", "x_high": "0.004", "x_count": "3"}
    fields |= {"y_low": "3e-4", "y_high": "3e-3", "y_count": "2"}
    answer = client.post(
        f"/grokking/{name}/finer", data=fields, headers=OWN, follow_redirects=False
    )
    assert answer.status_code == 303
    (run,) = parse_qs(urlsplit(answer.headers["location"]).query)["run"]
    detail = client.get(f"/api/v1/experiments/{run}").json()["experiment"]
    assert detail["parameters"]["x_values"] == [0.001, 0.0025, 0.004]
    assert detail["parameters"]["y_values"] == [0.0003, 0.003]
    assert detail["parameters"]["width"] == 16
    assert detail["n_finished"] == 0
    page = client.get(answer.headers["location"]).text
    assert "pending" in page
    assert "data-open" in page
    for wrong in ({"x_low": "-1"}, {"x_high": "nan"}, {"y_count": "1"}, {"x_low": "9"}):
        refused = client.post(f"/grokking/{name}/finer", data={**fields, **wrong}, headers=OWN)
        assert refused.status_code == 422, wrong
        assert "axis" in refused.text


def test_a_preset_starts_a_run_and_an_unknown_one_does_not(client: TestClient) -> None:
    answer = client.post(
        "/experiments/phase_diagram",
        data={"preset": "groks"},
        headers=OWN,
        follow_redirects=False,
    )
    assert answer.status_code == 303
    assert client.get(answer.headers["location"]).status_code == 200
    for kind, preset in (("phase_diagram", "nothing"), ("nothing", "groks")):
        refused = client.post(f"/experiments/{kind}", data={"preset": preset}, headers=OWN)
        assert refused.status_code == 422
        assert "Choose from" in refused.text


def test_unknown_runs_cells_and_kinds_are_refused(
    client: TestClient, names: dict[str, Any]
) -> None:
    name = names["experiment"]
    assert client.get("/grokking", params={"run": "0" * 16}).status_code == 404
    assert client.get("/grokking", params={"run": "x"}).status_code == 422
    assert client.get("/grokking", params={"run": name, "gap": 0}).status_code == 422
    assert client.get("/grokking", params={"run": name, "cell": 99}).status_code == 404
    assert client.get(f"/api/v1/experiments/{name}/cells/99").status_code == 404
    assert client.get(f"/api/v1/experiments/{name}/cells/0/arrays/no").status_code == 404
    assert client.get("/api/v1/experiments", params={"kind": "no"}).status_code == 422


def test_a_preset_is_a_valid_request(client: TestClient) -> None:
    presets = client.get("/api/v1/experiments/presets").json()["presets"]
    grid = next(
        preset
        for preset in presets
        if (preset["kind"], preset["name"]) == ("phase_diagram", "grid")
    )
    request_body = {"kind": grid["kind"], "parameters": grid["parameters"]}
    cost = client.post("/api/v1/jobs/estimate", json=request_body, headers=OWN).json()
    assert (cost["units"], cost["work_unit"]) == (4, "FLOP")
    assert cost["work"] == pytest.approx(3.1e12, rel=0.1)


def test_an_empty_store_offers_presets(tmp_path: Any) -> None:
    from app.main import create_app
    from backend.settings import Settings
    from backend.store.database import open_store
    from tests.app.conftest import local_client

    store = open_store(Settings(data_dir=tmp_path / "data"))
    with local_client(create_app(store)) as empty:
        page = empty.get("/grokking").text
    assert "No run yet" in page
    assert 'value="grid"' in page
    store.close()


def test_jobs_of_experiments_are_listed_with_their_settings(client: TestClient) -> None:
    request_body = {"kind": "phase_diagram", "parameters": {"x_values": [0.5], "y_values": [0.25]}}
    client.post("/api/v1/jobs", json=request_body, headers=OWN).raise_for_status()
    assert "one run at 0.5, 0.25, seed 0" in client.get("/jobs").text
