"""A person's words on a cluster: kept as they are, within bounds."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.test_error_shape import is_problem

OWN = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\u2028 é漢🙂"


@pytest.fixture
def url(names: dict[str, Any]) -> str:
    return f"/api/v1/clusters/{names['cluster']}/annotation"


def test_what_was_written_is_read_back(client: TestClient, url: str) -> None:
    sent = {"label": "a label", "note": "two\nlines", "tags": ["one", "two"]}
    answer = client.put(url, json=sent, headers=OWN).json()
    stored = client.get(url.removesuffix("/annotation")).json()["annotation"]
    assert answer == stored
    assert {name: stored[name] for name in sent} == sent
    assert stored["updated_at"]


def test_hostile_text_stays_text(client: TestClient, url: str) -> None:
    client.put(url, json={"label": HOSTILE, "note": HOSTILE, "tags": [HOSTILE[:40]]}, headers=OWN)
    response = client.get(url.removesuffix("/annotation"))
    assert response.headers["content-type"] == "application/json"
    assert response.json()["annotation"]["label"] == HOSTILE
    client.put(url, json={}, headers=OWN)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"label": "x" * 121}, "label"),
        ({"note": "x" * 10_001}, "note"),
        ({"tags": ["t"] * 21}, "tags"),
        ({"tags": ["x" * 41]}, "tags.0"),
        ({"tags": [""]}, "tags.0"),
        ({"tags": "one"}, "tags"),
        ({"label": None}, "label"),
        ({"label": "nul\x00"}, "label"),
        ({"labels": "x"}, "labels"),
        ([], "body"),
    ],
)
def test_a_body_out_of_bounds_is_a_422_that_names_its_part(
    client: TestClient, url: str, body: object, parameter: str
) -> None:
    document = is_problem(client.put(url, json=body, headers=OWN), 422)
    assert document["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b'{"label": NaN}', 422),
        (b'{"label": "\\ud800"}', 422),
        (b'{"label": "\xff"}', 400),
        (b"[" * 20_000, 400),
        (b"[" * 100_000, 413),
    ],
)
def test_a_broken_body_is_a_problem_not_a_failure(
    client: TestClient, url: str, content: bytes, status: int
) -> None:
    is_problem(client.put(url, content=content, headers=OWN), status)


def test_an_unknown_cluster_cannot_be_annotated(client: TestClient) -> None:
    url = "/api/v1/clusters/2147483647/annotation"
    is_problem(client.put(url, json={}, headers=OWN), 404)
