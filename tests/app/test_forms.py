"""A form that is sent with empty fields asks for nothing."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

FIELDS = (
    *("min_size", "max_size", "min_coherence", "max_coherence"),
    *("min_loss", "max_loss", "min_entropy", "max_entropy", "answer"),
)


def test_empty_fields_count_as_not_given(client: TestClient) -> None:
    clustering = client.get("/api/v1/clusterings").json()["clusterings"][0]["id"]
    empty: dict[str, Any] = dict.fromkeys(FIELDS, "")
    assert client.get(f"/clusterings/{clustering}", params=empty).status_code == 200


@pytest.mark.parametrize("value", ["many", "-1", "nan", "1e999"])
@pytest.mark.parametrize("name", ["min_size", "max_loss"])
def test_values_out_of_range_are_refused_by_name(client: TestClient, name: str, value: str) -> None:
    clustering = client.get("/api/v1/clusterings").json()["clusterings"][0]["id"]
    answer = client.get(f"/clusterings/{clustering}", params={name: value})
    if (name, value) == ("max_loss", "-1"):  # in range, though it matches nothing
        assert answer.status_code == 200
        return
    assert answer.status_code == 422
    assert name in answer.text


def test_empty_filters_of_contexts_count_as_not_given(client: TestClient) -> None:
    clustering = client.get("/api/v1/clusterings").json()["clusterings"][0]["id"]
    page = client.get(f"/api/v1/clusterings/{clustering}/clusters").json()
    cluster = page["clusters"][0]["id"]
    answer = client.get(f"/clusters/{cluster}", params={"answer": "", "last": ""})
    assert answer.status_code == 200
