"""Heat over the API and on its page: every measure, scale, and what is not computed yet."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.test_error_shape import is_problem

STORED = ("loss", "p", "rank", "entropy", "difference")


@pytest.fixture
def heat(names: dict[str, Any]) -> str:
    return f"/api/v1/corpora/{names['corpus']}/documents/0/heat"


@pytest.fixture
def page(names: dict[str, Any]) -> str:
    return f"/documents/{names['corpus']}/0"


@pytest.mark.parametrize("measure", STORED)
def test_page_and_route_agree_on_every_measure(
    client: TestClient, heat: str, page: str, measure: str
) -> None:
    frame = client.get(heat, params={"measure": measure}).json()
    text = client.get(page, params={"measure": measure}).text
    assert frame["measure"] == measure
    assert sum(frame["histogram"]) == len(frame["values"]) - 1
    mean = f"mean {frame['mean']:.3f}".replace("-", "−")
    assert f"{mean} {frame['unit']}" in text
    prefix = "d" if measure == "difference" else "h"
    assert f'class="t {prefix}{frame["classes"][1]}"' in text


def test_ranks_start_at_one_and_entropies_are_bounded(client: TestClient, heat: str) -> None:
    ranks = client.get(heat, params={"measure": "rank"}).json()["values"][1:]
    assert min(ranks) == 1
    entropies = client.get(heat, params={"measure": "entropy"}).json()["values"][1:]
    assert min(entropies) >= 0
    assert max(entropies) < 7.7  # ln 2048 and a little


def test_what_is_not_computed_is_a_409_and_a_page_that_offers_it(
    client: TestClient, heat: str, page: str
) -> None:
    document = is_problem(client.get(heat, params={"measure": "p_token"}), 409)
    assert "/api/v1/jobs" in document["remedy"]
    answer = client.get(page, params={"measure": "p_token"})
    assert answer.status_code == 200
    assert "Compute for every size" in answer.text
    assert f'action="{page}/measure"' in answer.text


def test_a_chosen_token_that_is_none_is_named(client: TestClient, heat: str, page: str) -> None:
    wanted = {"measure": "p_token", "target": "<b>no token</b>"}
    document = is_problem(client.get(heat, params=wanted), 422)
    assert document["errors"][0]["parameter"] == "target"
    answer = client.get(page, params=wanted)
    assert answer.status_code == 422
    assert "<b>no" not in answer.text


def test_the_scale_is_what_is_asked_for(client: TestClient, heat: str) -> None:
    frame = client.get(heat, params={"lo": 1, "hi": 3}).json()
    assert frame["scale"] == [1, 3]
    assert frame["bounds"] == [0, 10]
    fitted = client.get(heat, params={"lock": "false"}).json()
    values = [value for value in fitted["values"] if value is not None]
    assert fitted["scale"] == pytest.approx([min(values), max(values)], abs=1e-3)
    assert {0, 63} <= set(fitted["classes"])


@pytest.mark.parametrize(
    ("query", "field"),
    [({"lo": 3, "hi": 3}, "lo"), ({"hi": -1}, "hi"), ({"measure": "rank", "lo": 0}, "lo")],
)
def test_a_scale_that_cannot_be_is_refused_by_name(
    client: TestClient, heat: str, query: dict[str, Any], field: str
) -> None:
    document = is_problem(client.get(heat, params=query), 422)
    assert document["errors"][0]["parameter"] == field


def test_empty_fields_of_the_form_count_as_not_given(client: TestClient, page: str) -> None:
    fields = ("suite", "model", "step", "other_model", "other_step", "target", "lo", "hi")
    assert client.get(page, params=dict.fromkeys(fields, "")).status_code == 200
