"""Arrow streams and CSV files."""

import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from app.api import exports
from app.api.clusters import MAX_PAGE_TOKENS
from app.api.tables import csv_lines, harmless

ARROW = "application/vnd.apache.arrow.stream"


def table_of(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()


def test_losses_are_the_same_in_arrow_and_json(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/corpora/{names['corpus']}/losses?suite={names['suite']}&first=3&limit=7"
    plain = client.get(url)
    document = plain.json()
    response = client.get(url, headers={"Accept": ARROW})
    assert "Accept" in plain.headers["vary"]
    assert response.headers["content-type"] == ARROW
    assert "Accept" in response.headers["vary"]
    table = table_of(response.content)
    assert table["prediction"].to_pylist() == list(range(3, 10))
    assert table.schema.field("loss_nats").type.value_type == pa.float16()
    np.testing.assert_array_equal(table["loss_nats"].to_pylist(), document["values"])
    assert table.schema.metadata[b"truncated"] == b"true"
    assert len(document["columns"]) == len(document["values"][0])


def test_losses_end_with_the_corpus(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/corpora/{names['corpus']}"
    n_predictions = client.get(url).json()["n_predictions"]
    query = f"suite={names['suite']}&first={n_predictions - 2}&limit=10"
    document = client.get(f"{url}/losses?{query}").json()
    assert len(document["values"]) == 2
    assert document["truncated"] is False


def test_json_losses_are_capped_and_arrow_goes_on(
    client: TestClient, names: dict[str, Any]
) -> None:
    url = f"/api/v1/corpora/{names['corpus']}/losses?suite={names['suite']}&limit=1001"
    assert client.get(url).json()["errors"][0]["parameter"] == "limit"
    assert client.get(url + "&format=arrow").status_code == 200


def test_similarity_rows_join_to_the_whole_symmetric_matrix(
    client: TestClient, names: dict[str, Any]
) -> None:
    url = f"/api/v1/similarities/{names['similarity']}"
    size = client.get(url).json()["size"]
    parts, first = [], 0
    while first < size:
        table = table_of(client.get(f"{url}?format=arrow&first={first}&limit=100").content)
        assert table["row"].to_pylist() == list(range(first, first + len(table)))
        first += len(table)
        assert table.schema.metadata[b"truncated"] == str(first < size).lower().encode()
        parts += table["cosine"].to_pylist()
    matrix = np.array(parts)
    assert matrix.shape == (size, size)
    np.testing.assert_array_equal(matrix, matrix.T)


def test_a_row_past_the_end_is_named(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/similarities/{names['similarity']}?format=arrow&first=2147483647"
    assert client.get(url).json()["errors"][0]["parameter"] == "first"


def test_csv_holds_every_cluster_once(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/clusterings/{names['clustering']}/clusters"
    response = client.get(f"{url}?format=csv&limit=1")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    filename = f'filename="clustering-{names["clustering"]}.csv"'
    assert filename in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    page = client.get(f"{url}?limit=200").json()
    assert len(rows) == page["n_matching"]
    assert [int(row["id"]) for row in rows] == [row["id"] for row in page["clusters"]]


def test_csv_holds_every_member_once(client: TestClient, names: dict[str, Any]) -> None:
    url = f"/api/v1/clusters/{names['cluster']}/contexts"
    rows = list(csv.DictReader(io.StringIO(client.get(f"{url}?format=csv").text)))
    page = client.get(f"{url}?limit=100").json()
    assert len(rows) == page["n_members"]
    listed = [str(row["prediction"]) for row in page["contexts"]]
    assert [row["prediction"] for row in rows][: len(listed)] == listed


def test_a_page_of_long_contexts_is_shorter_and_goes_on(
    client: TestClient, names: dict[str, Any]
) -> None:
    url = f"/api/v1/clusters/{names['cluster']}/contexts?context=4096&limit=20"
    page = client.get(url).json()
    assert len(page["contexts"]) * 4097 <= MAX_PAGE_TOKENS
    rest = client.get(f"{url}&cursor={page['next_cursor']}").json()
    displayed = [item["prediction"] for item in page["contexts"]]
    assert displayed
    assert not set(displayed) & {item["prediction"] for item in rest["contexts"]}


def exported(
    client: TestClient, format: str, **more: str | int
) -> tuple[list[dict[str, Any]], Any]:
    """Rows of an export of a search, and its response."""
    query = {"token_pattern": "e", "sort": "final", "context": 8, "format": format, **more}
    response = client.get("/api/v1/predictions/export", params=query)
    assert response.status_code == 200, response.text
    content = response.content
    if format == "parquet":
        return pq.read_table(io.BytesIO(content)).to_pylist(), response
    if format == "arrow":
        with pa.ipc.open_file(content) as file:
            return file.read_all().to_pylist(), response
    if format == "csv":
        return list(csv.DictReader(io.StringIO(response.text))), response
    return response.json()["rows"], response


@pytest.mark.parametrize("format", ["parquet", "arrow", "csv", "json"])
def test_an_export_holds_all_that_a_search_finds(client: TestClient, format: str) -> None:
    rows, response = exported(client, format)
    filters = {"token_pattern": "e", "sort": "final", "limit": 200}
    page = client.get("/api/v1/predictions", params=filters).json()
    assert len(rows) == page["n_matching"] > 200
    indexes = [int(row["prediction"]) for row in rows]
    assert indexes[:200] == [match["index"] for match in page["matches"]]
    assert f'filename="predictions.{format}"' in response.headers["content-disposition"]
    assert "x-truncated" not in response.headers


def test_a_long_export_is_capped_and_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MAX_EXPORT_ROWS", 7)
    rows, response = exported(client, "json", like=3, sort="")
    assert len(rows) == 7
    assert response.headers["x-truncated"] == "true"
    assert rows == sorted(rows, key=lambda row: (row["distance"], row["prediction"]))


def test_a_bad_export_is_refused_before_it_begins(client: TestClient) -> None:
    for query in ("regex=(", "format=xlsx", "context=65", "published=none"):
        response = client.get(f"/api/v1/predictions/export?{query}")
        assert response.status_code == 422
        assert response.json()["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_neutralised(start: str) -> None:
    assert harmless(f"{start}HYPERLINK()") == f"'{start}HYPERLINK()"
    assert harmless("a" + start) == "a" + start


def test_numbers_stay_numbers() -> None:
    assert csv_lines([[-0.5, -3, None, True]]) == "-0.5,-3,,True\r\n"
