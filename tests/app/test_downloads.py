"""Arrow streams and CSV files."""

import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

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
    shown = [item["prediction"] for item in page["contexts"]]
    assert shown
    assert not set(shown) & {item["prediction"] for item in rest["contexts"]}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_run_is_neutralised(start: str) -> None:
    assert harmless(f"{start}HYPERLINK()") == f"'{start}HYPERLINK()"
    assert harmless("a" + start) == "a" + start


def test_numbers_stay_numbers() -> None:
    assert csv_lines([[-0.5, -3, None, True]]) == "-0.5,-3,,True\r\n"
