"""Heat over the API and on its page: every measure, scale, and what is not computed yet."""

import math
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.figures.numbers import measured
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
    assert f"mean {measured(frame['mean'])} {frame['unit']}" in text
    assert f'title="{measured(frame["values"][1])} {frame["unit"]} · ' in text
    prefix = "d" if measure == "difference" else "h"
    assert f'class="t {prefix}{frame["classes"][1]}"' in text


def test_ranks_start_at_one_and_entropies_are_bounded(client: TestClient, heat: str) -> None:
    ranks = client.get(heat, params={"measure": "rank"}).json()["values"][1:]
    assert min(ranks) == 1
    entropies = client.get(heat, params={"measure": "entropy"}).json()["values"][1:]
    assert min(entropies) >= 0
    assert max(entropies) < 7.7  # ln 2048 and a little


def test_values_keep_four_digits_however_small(client: TestClient, heat: str) -> None:
    losses = client.get(heat, params={"measure": "loss"}).json()["values"][1:]
    response = client.get(heat, params={"measure": "p"}).json()["values"][1:]
    assert response == pytest.approx([math.exp(-loss) for loss in losses], rel=1e-2)
    assert min(response) > 0
    assert all(value == float(f"{value:.4g}") for value in response)
    ranks = client.get(heat, params={"measure": "rank"})
    assert not re.search(r'"values":\[[^]]*\.', ranks.text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (2.5, "2.5"),
        (0.123456, "0.1235"),
        (0.00012346, "0.0001235"),
        (0.000012, "1.2e-5"),
        (1e-10, "1e-10"),
        (-1.25, "−1.25"),
        (12345.6, "12350"),
        (7, "7"),
        (50257, "50257"),
        (None, "–"),
    ],
)
def test_measured_values_have_four_significant_digits(value: float | None, text: str) -> None:
    assert measured(value) == text


def test_probabilities_have_a_log_scale_on_request(
    client: TestClient, heat: str, page: str
) -> None:
    frame = client.get(heat, params={"measure": "p", "log": "1"}).json()
    assert frame["is_log"]
    assert frame["scale"] == [1e-6, 1]
    values = client.get(heat, params={"measure": "p"}).json()["values"]
    assert frame["values"] == values
    expected = [min(63, max(0, int(64 * (1 + math.log10(v) / 6)))) for v in values[1:]]
    assert frame["classes"][1:] == pytest.approx(expected, abs=1)
    text = client.get(page, params={"measure": "p", "log": "1"}).text
    assert "log scale" in text
    assert 'name="log" value="1" checked' in text
    assert "log=1" in text.split('class="api-call"')[1]
    assert not client.get(heat, params={"measure": "loss", "log": "1"}).json()["is_log"]


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
    requested = {"measure": "p_token", "target": "<b>no token</b>"}
    document = is_problem(client.get(heat, params=requested), 422)
    assert document["errors"][0]["parameter"] == "target"
    answer = client.get(page, params=requested)
    assert answer.status_code == 422
    assert "<b>no" not in answer.text


def test_the_scale_is_what_is_asked_for(client: TestClient, heat: str) -> None:
    frame = client.get(heat, params={"lo": 1, "hi": 3}).json()
    assert frame["scale"] == [1, 3]
    assert frame["bounds"] == [0, 10]
    fitted = client.get(heat, params={"lock": "false"}).json()
    values = [value for value in fitted["values"] if value is not None]
    assert fitted["scale"] == pytest.approx([min(values), max(values)], rel=1e-3)
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
