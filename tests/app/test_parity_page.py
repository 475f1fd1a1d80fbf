"""The page of sparse parity, its figures and its API."""

import math
import re
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.figures.parity import cell_figures, law_figures, tasks_figure
from app.pages.parity import MAX_ROWS, network_name, network_rows
from backend.experiments.sparse_parity import queries as parity
from backend.experiments.sparse_parity.views import ParityCell, ParityLaw, ParityView
from backend.experiments.views import CellRow
from backend.store.database import Store
from tests.app.experiment_pages import MAX_PAGE_BYTES, gzipped_page, linked_terms

OWN = {"Sec-Fetch-Site": "same-origin"}
STEPS = (0, *(int(10 * 1.3**i) for i in range(25)))


def numbers(value: Any) -> list[float]:
    """Every number in a JSON document."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [number for item in items for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def falling(when: float) -> tuple[float, ...]:
    """A loss that falls at a step."""
    return tuple(1 / (1 + (step / when) ** 4) for step in STEPS)


def make_cell(converged: int = 4, tasks: int = 6) -> ParityCell:
    p = tuple(2.0 ** -(k + 1) for k in range(tasks))
    when = tuple(round(40 / p[k]) if k < converged else None for k in range(tasks))
    curves = tuple(
        falling(20 / p[k]) if k < converged else (1.0,) * len(STEPS) for k in range(tasks)
    )
    mean = tuple(sum(p[k] * curves[k][i] for k in range(tasks)) for i in range(len(STEPS)))
    slope = -1.0 if converged > 2 else None
    law = tuple(40 / value for value in p) if converged else None
    place = {"alpha": 0.4, "width": 8, "samples": 0, "seed": 0}
    return ParityCell("0" * 16, 0, place, {"slope": slope}, STEPS, mean, mean, curves, p, when, law)


def test_every_plot_of_the_page_has_a_figure_with_data(client: TestClient, parity_run: str) -> None:
    page = client.get("/parity", params={"run": parity_run}).raise_for_status().text
    plots = re.findall(r'data-src="([^"]+)" data-key="([A-Za-z-]+)"', page)
    keys = {key for _, key in plots}
    assert keys >= {"tasks", "emergence", "convergence", "law-N", "law-S", "law-D"}
    assert keys >= {"exponents-N", "exponents-S", "exponents-D"}
    for address, key in plots:
        drawn = client.get(unescape(address)).raise_for_status().json()[key]
        for trace in drawn["data"]:
            assert len(trace["x"]) == len(trace["y"]) or trace["type"] == "heatmap", key
            assert len(trace["x"]), (key, trace["name"])
        for name, axis in drawn["layout"].items():
            if name.endswith("axis") and "range" in axis:
                assert axis["range"][0] != axis["range"][1], key


def test_page_and_api_agree(client: TestClient, parity_run: str) -> None:
    page = client.get("/parity", params={"run": parity_run}).text
    (path,) = re.findall(r'data-api="([^"]*)"', page)
    assert path == f"/api/v1/parity/{parity_run}"
    view = client.get(path).json()
    assert len(view["cells"]) == 32
    assert {(law["axis"], law["alpha"]) for law in view["laws"]} == {
        (axis, alpha) for axis in "NSD" for alpha in (0.3, 0.6)
    }
    for law in view["laws"]:
        if law["why_not"]:
            assert f"No slope: {law['why_not']}" in unescape(page)
            assert law["measured"] is None
            continue
        assert f"<b>{law['measured']:.3f}".replace("-", "−") in page
        assert f"{law['predicted']:.3f}".replace("-", "−") in page
        within = abs(law["measured"] / law["predicted"] - 1) <= 0.4
        assert law["agrees"] == within
        limit = law["alpha"] if law["axis"] == "N" else law["alpha"] / (1 + law["alpha"])
        assert law["limit"] == pytest.approx(-limit)
        assert law["drawn_x"][0] == pytest.approx(law["window"][0])
    assert all(map(math.isfinite, numbers(view)))


def test_the_server_compresses_the_page(client: TestClient, parity_run: str) -> None:
    assert len(gzipped_page(client, "/parity", run=parity_run)) <= MAX_PAGE_BYTES


def test_the_address_selects_a_network(client: TestClient, parity_run: str) -> None:
    page = client.get("/parity", params={"run": parity_run, "cell": 9, "tasks": 2}).text
    assert '<option value="9" selected>' in page
    assert f"/figures/parity/{parity_run}/cells/9?tasks=2" in page
    detail = client.get(f"/api/v1/parity/{parity_run}/cells/9").json()
    words = f"{detail['summary']['converged']} of {len(detail['convergence_steps'])}"
    assert words in page
    links = re.findall(r'href="(/parity\?[^"]*cell=\d+[^"]*)"', page)
    assert len(links) == 32
    for link in links[:3]:
        assert client.get(unescape(link)).status_code == 200
    drawn = client.get(f"/figures/parity/{parity_run}/cells/9", params={"tasks": 2}).json()
    names = {trace["name"] for trace in drawn["tasks"]["data"]}
    assert names == {"0.1 bits", "subtask 1", "subtask 2", "mean loss", ""}
    fewer = client.get(f"/api/v1/parity/{parity_run}/cells/9", params={"tasks": 2}).json()
    assert fewer["task_loss"] == detail["task_loss"][:2]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"cell": 99}, 404),
        ({"cell": -1}, 422),
        ({"tasks": 0}, 422),
        ({"run": "0" * 16}, 404),
        ({"run": "<script>"}, 422),
        ({"cell": "", "run": ""}, 200),
    ],
)
def test_unknown_cells_and_runs_are_refused(
    client: TestClient, parity_run: str, params: dict[str, Any], status: int
) -> None:
    answer = client.get("/parity", params={"run": parity_run, **params})
    assert answer.status_code == status
    assert "<script>alert" not in answer.text


def test_runs_of_other_kinds_are_refused(client: TestClient, names: dict[str, Any]) -> None:
    assert client.get("/parity", params={"run": names["experiment"]}).status_code == 422
    assert client.get(f"/api/v1/parity/{names['experiment']}").status_code == 404
    assert client.get(f"/figures/parity/{names['experiment']}/cells/0").status_code == 404


def test_a_preset_starts_a_run_from_the_page(client: TestClient, parity_run: str) -> None:
    page = client.get("/parity").text
    for name in ("steps", "widths", "data", "alphas", "p15", "p17", "d6", "d9", "d11"):
        assert f'name="preset" value="{name}"' in page
    params = {"preset": "alphas"}
    answer = client.post(
        "/experiments/sparse_parity", data=params, headers=OWN, follow_redirects=False
    )
    assert answer.status_code == 303
    waiting = client.get(answer.headers["location"])
    assert waiting.status_code == 200
    assert "0 of 4 cells" in waiting.text
    assert "No network is finished yet" in waiting.text
    # What is not finished yet has its place already: a page that is followed fills it in.
    finished = client.get("/parity", params={"run": parity_run}).text
    places = [set(re.findall(r'data-part="([a-z-]+)"', html)) for html in (waiting.text, finished)]
    assert places[0] == places[1]


def test_glossary_links_resolve(client: TestClient, parity_run: str) -> None:
    page = client.get("/parity", params={"run": parity_run}).text
    assert linked_terms(client, page) >= {"quantum", "sparse-parity", "finite-sum-prediction"}


def test_networks_are_named_and_limited(app_store: Store, parity_run: str) -> None:
    view = parity.load_parity_run(app_store, parity_run)
    place = view.cells[0].place
    assert network_name(view.cells[0], view.cells) == "α 0.3, width 4, fresh data"
    large_cells = tuple(
        CellRow(i, {**place, "alpha": 0.3 + 0.3 * (i % 2), "seed": i}, None) for i in range(300)
    )
    large_view = ParityView(view.experiment, large_cells, ())
    assert len(network_rows(large_view, None)) == MAX_ROWS
    assert {large_cells[row.cell].place["alpha"] for row in network_rows(large_view, 0.6)} == {0.6}


def test_ranks_are_on_the_lines_of_their_subtasks() -> None:
    drawn = tasks_figure(make_cell(), n_lines=5).to_plotly_json()
    labels = [t for t in drawn["data"] if t["meta"].get("label")]
    assert [label["text"][0].strip() for label in labels] == ["1", "2", "3", "4", "mean"]
    for rank, label in enumerate(labels[:-1]):
        (x,), (y,) = label["x"], label["y"]
        assert 1 / (1 + (x * 2.0 ** -(rank + 1) / 20) ** 4) == pytest.approx(y, abs=0.06)
    places = {(label["x"][0], label["y"][0]) for label in labels}
    assert len(places) == len(labels)


@pytest.mark.parametrize("converged", [0, 1, 4, 6])
def test_figures_of_a_network_hold_its_convergence_steps(converged: int) -> None:
    cell = make_cell(converged)
    drawn = {name: figure.to_plotly_json() for name, figure in cell_figures(cell, 12).items()}
    heat = drawn["emergence"]["data"][0]
    assert (
        (len(heat["z"]), len(heat["z"][0]))
        == (len(heat["y"]), len(heat["x"]))
        == (6, len(heat["x"]))
    )
    assert 0 not in heat["x"]  # a logarithmic axis has no place for step 0
    traces = {trace["name"]: trace for trace in drawn["convergence"]["data"]}
    assert len(traces["converged"]["x"]) == converged
    assert ("not converged" in traces) == (converged < 6)
    if converged > 2:
        fit = traces["fit, slope −1.00"]
        ratio = math.log(fit["y"][1] / fit["y"][0]) / math.log(fit["x"][1] / fit["x"][0])
        assert ratio == pytest.approx(-1)
        law = traces["T = τ/p, slope −1"]
        assert [x * y for x, y in zip(law["x"], law["y"], strict=True)] == pytest.approx(
            [40.0] * len(law["x"])
        )


def test_a_law_is_drawn_with_three_labelled_lines() -> None:
    def make_law(alpha: float) -> ParityLaw:
        x = (4.0, 8.0, 16.0)
        return ParityLaw(
            "N", alpha, None, -0.5, -0.6, -alpha, True, (4.0, 16.0), 3, 7.0, (0.6, 2.3),
            x, (0.6, 0.45, 0.3), x, (0.6, 0.42, 0.3), (0.7, 0.45, 0.28), (0.6, 0.5, 0.4),
        )  # fmt: skip

    laws = [make_law(0.2), make_law(0.4), ParityLaw("S", 0.2, "too few")]
    drawn = law_figures(laws, 0.4, n_tasks=30)
    assert set(drawn) == {"law-N", "exponents-N"}
    traces = drawn["law-N"].to_plotly_json()["data"]
    dashes = {t["name"]: t["line"]["dash"] for t in traces if "line" in t}
    assert dashes == {"limit": "dot", "finite sum": "dash", "fit": "solid"}
    labels = [t["text"][0].strip() for t in traces if t["meta"].get("label")]
    assert labels == [
        "··· infinitely many: slope −0.40",
        "- - sum over 30: slope −0.60",
        "— measured: slope −0.50",
    ]
    exponents = drawn["exponents-N"].to_plotly_json()["data"]
    limit = next(t for t in exponents if t["name"] == "limit")
    assert limit["y"] == [0.2, 0.4]
