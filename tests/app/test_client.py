"""The Python client over real HTTP: paging, tables, problems, tokens, repeats."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.client import (
    Client,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    ProblemError,
    ServerUnreachableError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from app.client.decoding import decode
from app.client.types import CorpusRow, Health
from tests.app.doors import SETTINGS_TOKEN, door
from tests.app.faulty import DROP, PASS, REFUSE, Fault, faulty
from tests.app.serving import served
from tests.processes import ROOT, free_port

# What httpx2 and pyarrow bring, and what any environment has.
ALLOWED = {
    *("httpx2", "httpcore2", "h11", "h2", "idna", "certifi", "truststore", "anyio", "sniffio"),
    *("pyarrow", "numpy", "cloudpickle", "typing_extensions", "_distutils_hack", "zstandard"),
    *("brotli", "brotlicffi"),
}
LOADED = """
import sys
import app.client
print(*{name.partition(".")[0] for name, module in sys.modules.items()
        if "site-packages" in (getattr(module, "__file__", None) or "")})
"""


def test_importing_the_client_loads_its_own_libraries_only() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert {"httpx2", "pyarrow"} <= loaded
    assert loaded <= ALLOWED


def test_lists_follow_cursors_to_the_last_page(over_http: Client, names: dict[str, Any]) -> None:
    corpus = over_http.corpus(names["corpus"])
    documents = over_http.documents(corpus.id, page_size=7)
    assert [row.index for row in documents] == list(range(corpus.n_documents))
    assert [len(page.documents) for page in documents.pages()][:2] == [7, 7]
    assert documents.first_page.n_documents == corpus.n_documents
    clusters = list(over_http.clusters(names["b"], page_size=3))
    assert [row.rank for row in clusters] == list(range(1, len(clusters) + 1))
    members = list(over_http.contexts(clusters[0].id, page_size=5))
    assert len({row.row for row in members}) == clusters[0].size > 5
    listing = over_http.predictions(document=0, page_size=20)
    indices = [row.index for row in listing]
    assert len(set(indices)) == len(indices) == listing.first_page.n_matching > 20
    assert [row.index for row in over_http.search(filters={"document": 0})] == indices
    assert [row.index for row in listing.first(3)] == indices[:3]


def test_tables_and_json_hold_the_same_values(over_http: Client, names: dict[str, Any]) -> None:
    corpus, suite = names["corpus"], names["suite"]
    table = over_http.losses(corpus, suite, first=5, limit=4)
    raw = over_http.get(
        f"/api/v1/corpora/{corpus}/losses", {"suite": suite, "first": 5, "limit": 4}
    )
    assert table.column("prediction").to_pylist() == [5, 6, 7, 8]
    for j, column in enumerate(raw["columns"]):
        name = f"loss_nats_{column['model']}_step{column['step']}"
        assert table.column(name).to_pylist() == [row[j] for row in raw["values"]]
    frame = table.to_pandas()
    assert frame.shape == (4, 1 + len(raw["columns"]))
    losses = over_http.losses(corpus, suite)
    assert len(losses) == over_http.corpus(corpus).n_predictions
    rows = over_http.similarity_rows(names["similarity"], limit=10)
    matrix = np.stack(rows["cosine"].to_numpy())
    assert matrix.shape == (10, over_http.similarity(names["similarity"]).size)
    assert np.allclose(np.diag(matrix), 1, atol=1e-3)


def test_a_long_range_of_losses_is_read_in_blocks(
    over_http: Client, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = over_http.losses(names["corpus"], names["suite"])
    monkeypatch.setattr("app.client.corpora.BLOCK_ROWS", 4_000)
    blocks = list(over_http.loss_blocks(names["corpus"], names["suite"]))
    assert [len(block) for block in blocks][:-1] == [4_000] * (len(blocks) - 1)
    assert pa.concat_tables(blocks).equals(losses)
    part = over_http.losses(names["corpus"], names["suite"], first=3_000, limit=5_000)
    assert part.equals(losses.slice(3_000, 5_000))


def test_a_search_returns_a_table_a_file_and_a_map(over_http: Client, tmp_path: Path) -> None:
    listing = over_http.predictions(cls=["monogenic"]).first_page
    table = over_http.predictions_table(cls=["monogenic"])
    assert len(table) == listing.n_matching
    assert table.schema.metadata[b"is_whole"] == b"true"
    download = over_http.download_predictions(tmp_path / "found.parquet", cls=["monogenic"])
    assert not download.truncated
    assert pq.read_table(download.path).column("prediction").equals(table.column("prediction"))
    assert [path.name for path in tmp_path.iterdir()] == ["found.parquet"]
    curve_map = over_http.curve_map(cls=["monogenic"])
    assert curve_map.n_matching == listing.n_matching
    assert sum(curve_map.points["matching"].to_pylist()) == listing.n_matching
    corners = [(-1e3, -1e3), (1e3, -1e3), (1e3, 1e3), (-1e3, 1e3)]
    inside = over_http.predictions(lasso=corners, lasso_of=curve_map.curves).first_page
    assert inside.n_matching == inside.n_predictions
    step = over_http.predictions(sketch=[(3e4, 5.0), (1e6, 0.1)]).first(1)
    assert step, "the sketch matches a curve"
    assert step == over_http.search(sketch=[(3e4, 5.0), (1e6, 0.1)]).first(1)


def test_lists_can_be_downloaded(over_http: Client, names: dict[str, Any], tmp_path: Path) -> None:
    over_http.download_clusters(names["clustering"], tmp_path / "clusters.csv")
    with (tmp_path / "clusters.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + over_http.clustering(names["clustering"]).n_clusters
    over_http.download_contexts(names["cluster"], tmp_path / "contexts.csv", context=3)
    assert (tmp_path / "contexts.csv").read_text().startswith("prediction,")


def test_a_note_is_written_and_read(over_http: Client, names: dict[str, Any]) -> None:
    before = over_http.cluster(names["cluster"]).annotation
    written = over_http.annotate(names["cluster"], label="naïve ⏎", note="漢字", tags=["a", "b"])
    assert (written.label, written.note, written.tags) == ("naïve ⏎", "漢字", ("a", "b"))
    assert over_http.cluster(names["cluster"]).annotation == written
    over_http.annotate(names["cluster"], label=before.label, note=before.note, tags=before.tags)


def test_error_responses_are_exceptions_with_the_message_of_the_server(
    over_http: Client, names: dict[str, Any]
) -> None:
    with pytest.raises(NotFoundError, match="cluster 2000000000") as caught:
        over_http.cluster(2_000_000_000)
    missing = caught.value
    assert (missing.status, missing.title) == (404, "Not Found")
    assert missing.remedy
    assert len(missing.request_id) == 16
    assert missing.problem.instance == "/api/v1/clusters/2000000000"
    with pytest.raises(InvalidRequestError) as refused:
        over_http.predictions(regex="(").first_page  # noqa: B018 - it asks
    assert [error.parameter for error in refused.value.errors] == ["regex"]
    params = {"idempotency_key": "k", "corpus": names["corpus"], "target": "⏎"}
    over_http.submit("measure", **params, document=3)
    with pytest.raises(ConflictError, match="Idempotency-Key"):
        over_http.submit("measure", **params, document=4)
    with pytest.raises(ProblemError) as nothing:
        over_http.get("/nothing")
    assert nothing.value.status == 404  # an HTML page, no problem document


def test_names_are_quoted_and_cannot_change_the_path(over_http: Client) -> None:
    for name in ("../suites", "a/b", "?x=1", "x#y", "%2e%2e"):
        with pytest.raises((NotFoundError, InvalidRequestError)):
            over_http.corpus(name)
    with pytest.raises(ValueError, match="not a valid name"):
        over_http.corpus("..")


def test_a_token_allows_what_its_scope_does(tmp_path: Path) -> None:
    with (
        door(tmp_path / "data", SETTINGS_TOKEN, ("read", "run")) as guarded,
        served(guarded.app) as url,
    ):
        with Client(url, token="") as nobody, pytest.raises(UnauthorizedError):
            nobody.annotate(1, label="x")
        with Client(url, token=guarded.tokens["read"]) as reader:
            assert reader.suites() == ()
            with pytest.raises(ForbiddenError, match="scope admin"):
                reader.annotate(1, label="x")
            with pytest.raises(ForbiddenError):
                reader.submit("measure", corpus="x", document=0, target="y")
        with Client(url, token=SETTINGS_TOKEN) as admin:
            assert SETTINGS_TOKEN not in repr(admin)
            with pytest.raises(NotFoundError):
                admin.annotate(1, label="x")


def test_address_and_token_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with door(tmp_path / "data", SETTINGS_TOKEN) as guarded, served(guarded.app) as url:
        monkeypatch.setenv("QUANTA_URL", url)
        with Client() as nobody, pytest.raises(UnauthorizedError):
            nobody.annotate(1)
        monkeypatch.setenv("QUANTA_TOKEN", SETTINGS_TOKEN)
        with Client() as admin, pytest.raises(NotFoundError):
            admin.annotate(1)
    for wrong in ("localhost:8000", "ftp://x", "http://"):
        with pytest.raises(ValueError, match="url"):
            Client(wrong)


def test_responses_are_compressed(over_http: Client, names: dict[str, Any]) -> None:
    answer = over_http._transport.read(f"/api/v1/corpora/{names['corpus']}/documents/0")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["index"] == 0


def test_reads_are_retried_and_writes_are_not(over_http: Client, names: dict[str, Any]) -> None:
    def twice(line: str, n: int) -> Fault:
        return (DROP, REFUSE, PASS)[min(n, 2)]

    with faulty(over_http._transport.url, twice) as proxy, Client(proxy.url, token="") as client:
        assert client.suites()
        assert proxy.n_asked("GET /api/v1/suites") == 3
        assert client.search(preset="step").first(1)
        assert proxy.n_asked("POST /api/v1/predictions/search") == 3
        with pytest.raises(ServerUnreachableError):
            client.annotate(names["cluster"], label="lost")
        assert proxy.n_asked("PUT") == 1
        with pytest.raises(UnavailableError):
            client.annotate(names["cluster"], label="lost")
        params = {"corpus": names["corpus"], "document": 7, "target": "⏎"}
        client.submit("measure", idempotency_key="once", **params).cancel()
        assert proxy.n_asked("POST /api/v1/jobs ") == 3


def test_an_unreachable_server_is_named(names: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=1) as client, pytest.raises(ServerUnreachableError, match=url):
        client.suites()
    with faulty(url, lambda line, n: REFUSE) as proxy, Client(proxy.url, retries=2) as client:
        with pytest.raises(UnavailableError):
            client.suites()
        assert len(proxy.requests) == 3


def test_a_truncated_response_is_an_error(over_http: Client, tmp_path: Path) -> None:
    with (
        faulty(over_http._transport.url, lambda line, n: 2_000) as proxy,
        Client(proxy.url, retries=0) as client,
    ):
        with pytest.raises(ServerUnreachableError):
            client.download_predictions(tmp_path / "cut.csv", format="csv")
        assert list(tmp_path.iterdir()) == []


def test_unknown_fields_are_ignored_and_missing_ones_are_an_error() -> None:
    assert decode(Health, {"status": "ok", "version": "9", "new": 1}) == Health("ok", "9")
    with pytest.raises(UnexpectedAnswerError, match="CorpusRow lacks created_at"):
        decode(CorpusRow, {"id": "x"})


def test_redirects_are_not_followed(over_http: Client) -> None:
    with pytest.raises(UnexpectedAnswerError, match="redirects to"):
        over_http.get("/clusterings")  # a page that leads to another
    assert httpx2.get(over_http._transport.url + "/clusterings").is_redirect
