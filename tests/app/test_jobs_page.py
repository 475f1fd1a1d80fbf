"""Pages of jobs without scripts: forms from schemas, estimates, errors of fields, comparisons."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.main import create_app
from backend.jobs import job_table, leases, queue
from backend.jobs.kinds.registry import KINDS
from backend.settings import Settings
from backend.store.database import Store, open_store
from tests.app.conftest import local_client
from tests.app.doors import csrf_of, door
from tests.stores import MARKUP, copy_store

OWN = {"Origin": "http://127.0.0.1:8000"}
CORPUS = "mini-held-out-60"
HOSTILE = "<img src=x onerror=alert(1)>.jsonl"


@pytest.fixture(scope="module")
def jobs_store(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A copy of the store for these tests, with a file to import that has a hostile name."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("jobs") / "data")
    (folder / "imports").mkdir()
    line = '{"id": "1", "source": "s", "license": "l", "text": "some words"}\n'
    (folder / "imports" / HOSTILE).write_text(line)
    store = open_store(Settings(data_dir=folder))
    yield store
    store.engine.dispose()


@pytest.fixture(scope="module")
def client(jobs_store: Store) -> Iterator[TestClient]:
    app: FastAPI = create_app(jobs_store)
    with local_client(app, headers=OWN, follow_redirects=False) as client:
        yield client


def submit_job(store: Store, kind: str, **params: Any) -> str:
    return queue.insert(store, kind, {"suite": "mini", "corpus": CORPUS, **params})[0].id


def discovery(store: Store, **params: Any) -> str:
    return submit_job(store, "discover", n_clusters=[3, 4], **params)


def field(page: str, name: str) -> str:
    """The part of a page that holds a field."""
    match = re.search(rf'<div class="field[^>]*>\s*<label for="p-{name}".*?</div>', page, re.S)
    assert match is not None, name
    return html.unescape(match[0])


def value(page: str, name: str) -> str:
    match = re.search(r'value="([^"]*)"', field(page, name))
    assert match is not None
    return match[1]


def test_an_empty_store_has_every_form_and_says_that_no_worker_is_running(tmp_path: Path) -> None:
    with door(tmp_path) as opened, local_client(opened.app) as client:
        page = client.get("/jobs").text
    assert "No job yet" in page
    assert "No worker is running" in page
    for kind in KINDS.values():
        assert (f'href="/jobs?new={kind.name}"' in page) == kind.has_form


@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.has_form], ids=lambda k: k.name)
def test_a_form_has_every_parameter_of_its_schema_with_bounds(
    client: TestClient, kind: Any
) -> None:
    page = client.get("/jobs", params={"new": kind.name}).text
    schema = kind.schema.model_json_schema()
    for name, about in schema["properties"].items():
        element = field(page, name)
        assert about["title"] in element
        assert about.get("description", "") in element
        assert (" required" in element) == (name in schema.get("required", ()))
        assert ("required</span>" in element) == (name in schema.get("required", ()))
        if about.get("type") == "integer" and "maximum" in about:
            assert f'max="{about["maximum"]}"' in element
        for option in about.get("enum", ()):
            assert f'<option value="{option}"' in element
    assert f'data-job-form="{kind.name}"' in page


def test_forms_offer_what_is_stored_and_what_can_be_imported(client: TestClient) -> None:
    page = client.get("/jobs?new=discover").text
    assert f'<option value="{CORPUS}"' in field(page, "corpus")
    assert '<option value="s3">' in field(page, "model")
    assert 'placeholder="0.1"' in field(page, "max_loss_nats")
    page = client.get("/jobs?new=add_corpus").text
    assert HOSTILE in field(page, "files")
    assert "<img" not in page


def test_a_query_fills_the_form(client: TestClient) -> None:
    page = client.get("/jobs", params={"new": "discover", "model": '"><b>x', "limit": "77"}).text
    assert value(page, "limit") == "77"
    assert "<b>x" not in page
    assert '<details class="new-job" id="new" data-new-job open>' in page
    assert "data-new-job open" in client.get("/jobs?new=export").text
    discovery_form = client.get("/jobs?kind=discover&cmp=").text
    assert 'data-job-form="discover"' in discovery_form
    for wrong in ("new=paste", "new=nothing", "kind=nothing", "state=lost", "cmp=a", "from=%00"):
        assert client.get(f"/jobs?{wrong}").status_code == 422, wrong
    assert client.get("/jobs?from=j0").status_code == 404


def test_errors_are_shown_at_their_field_and_the_input_stays(client: TestClient) -> None:
    sent = {
        "kind": "discover",
        "suite": "mini",
        "corpus": CORPUS,
        "model": "s2",
        "max_loss_nats": "-1",
        "n_clusters": "5, many",
        "requires": "cuda",
    }
    for act in ("run", "estimate"):
        answer = client.post("/jobs", data={**sent, "act": act})
        assert answer.status_code == 422
        assert "greater than 0" in field(answer.text, "max_loss_nats")
        assert "value 2: " in field(answer.text, "n_clusters")
        assert 'aria-invalid="true"' in field(answer.text, "n_clusters")
        assert "aria-invalid" not in field(answer.text, "model")
        assert value(answer.text, "model") == "s2"
        assert value(answer.text, "n_clusters") == "5, many"
        assert '<option value="cuda" selected>' in answer.text
    answer = client.post("/jobs", data={"kind": "discover", "suite": "mini", "corpus": CORPUS})
    assert "Is needed" in field(answer.text, "n_clusters")


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"corpus": "nowhere"}, "corpus", "there is no corpus 'nowhere'"),
        ({"model": "s99"}, "model", "has no model 's99'"),
        ({"model": "s1", "step": "7"}, "step", "model s1 has no step 7"),
    ],
)
def test_an_unknown_name_is_an_error_of_its_field(
    client: TestClient, changes: dict[str, str], name: str, words: str
) -> None:
    params = {"kind": "discover", "suite": "mini", "corpus": CORPUS, "n_clusters": "5"}
    answer = client.post("/jobs", data={**params, **changes})
    assert answer.status_code == 422
    assert words in field(answer.text, name)
    assert 'class="error" role="alert"' not in answer.text


def test_an_error_of_no_field_is_shown_above_the_form(client: TestClient) -> None:
    answer = client.post("/jobs", data={"kind": "export", "what": "curves", "suite": "mini"})
    assert answer.status_code == 422
    assert "curves need a suite and a corpus" in answer.text
    assert 'role="alert"' in answer.text


def test_an_estimate_queues_nothing_and_names_an_equal_job(
    client: TestClient, jobs_store: Store
) -> None:
    sent = {"kind": "evaluate", "suite": "mini", "corpus": CORPUS, "models": "s1, s2"}
    before = job_table.list_jobs(jobs_store)
    answer = client.post("/jobs", data={**sent, "act": "estimate"})
    assert answer.status_code == 200
    assert job_table.list_jobs(jobs_store) == before
    assert "FLOP" in answer.text
    assert " chunks · " in answer.text
    assert "no job of this kind has finished here yet" in answer.text
    assert value(answer.text, "models") == "s1, s2"
    assert "Equal config" not in answer.text
    job = client.post("/jobs", data=sent).headers["location"]
    answer = client.post("/jobs", data={**sent, "act": "estimate"})
    assert f'Equal config → <a href="{job}">the same job, queued</a>' in answer.text
    job_table.start_attempt(jobs_store, job.removeprefix("/jobs/"), 1, "nobody")
    job_table.finish(jobs_store, job.removeprefix("/jobs/"), {})
    answer = client.post("/jobs", data={**sent, "act": "estimate"})
    assert f'Equal config → <a href="{job}">cached result</a>' in answer.text
    assert "</span> Finished</h2>" in client.get(job).text


def test_the_list_is_filtered_by_state_and_kind(client: TestClient, jobs_store: Store) -> None:
    cancelled, queued = discovery(jobs_store, stride=11), discovery(jobs_store, stride=12)
    job_table.cancel(jobs_store, cancelled)

    def listed(**params: str) -> set[str]:
        page = client.get("/jobs", params=params).text
        return set(re.findall(r'data-job-row="([^"]+)"', page))

    assert {cancelled, queued} <= listed(state="", kind="discover")
    assert cancelled in listed(state="cancelled")
    assert queued not in listed(state="cancelled")
    assert not {cancelled, queued} & listed(kind="paste")
    assert "No job matches" in client.get("/jobs?kind=paste&state=failed").text
    assert "/api/v1/jobs?state=cancelled" in client.get("/jobs?state=cancelled").text


def test_a_queued_job_names_the_worker_that_it_waits_for(
    client: TestClient, jobs_store: Store
) -> None:
    job = queue.insert(jobs_store, "classify", {"suite": "mini", "corpus": CORPUS}, None, "cuda")[
        0
    ].id
    assert "waiting for a worker<" in client.get("/jobs?kind=classify").text
    worker = leases.register_worker(jobs_store, "cpu")
    try:
        page = client.get("/jobs?kind=classify").text
        assert "waiting for a worker with CUDA" in page
        assert "<td>idle</td>" in page  # the worker's own row
        assert "Waiting for a worker with CUDA" in client.get(f"/jobs/{job}").text
        job_table.start_attempt(jobs_store, job, 1, worker)
        assert "waiting for a worker with CUDA" in client.get("/jobs?kind=classify").text
    finally:
        leases.release_lease(jobs_store, worker)
    assert "interrupted, waiting for a worker" in client.get("/jobs?kind=classify").text


def test_two_jobs_are_compared_by_parameters_and_results(
    client: TestClient, jobs_store: Store
) -> None:
    left, right = discovery(jobs_store, stride=21), discovery(jobs_store, stride=22)
    ticked = client.get("/jobs", params={"cmp": [left, right], "kind": "discover"})
    assert ticked.status_code == 303
    assert ticked.headers["location"] == f"/jobs?kind=discover&cmp={left}%2C{right}"
    page = client.get(ticked.headers["location"]).text
    table = page[page.index("Parameters that differ") : page.index("equal parameters")]
    assert re.findall(r"<th scope=\"row\">(.*?)</th>", table) == ["Stride"]
    assert "≠ differs" in table
    assert [left in table, right in table] == [True, True]
    folded = page[page.index("Equal parameters") : page.index("Results and times")]
    assert "Numbers of clusters" in folded
    assert "differs" not in folded
    other = submit_job(jobs_store, "evaluate", models=["s1"])
    page = client.get(f"/jobs?cmp={left},{other}").text
    assert (
        "Evaluation" in page[page.index("Parameters that differ") : page.index("Results and times")]
    )


def cloned(client: TestClient, job: str) -> str:
    match = re.search(r'href="(/jobs\?new=[^"]+)">Clone', client.get(f"/jobs/{job}").text)
    assert match is not None
    return client.get(html.unescape(match[1])).text


def test_a_form_takes_the_former_name_of_a_parameter(client: TestClient) -> None:
    page = client.get("/jobs", params={"new": "discover", "threshold_nats": "0.25"}).text
    field = re.search(r'<input[^>]*name="max_loss_nats"[^>]*>', page)
    assert field is not None
    assert 'value="0.25"' in field[0]


def test_a_clone_returns_the_same_job(client: TestClient, jobs_store: Store) -> None:
    params = {"corpus": CORPUS, "models": ["s1", "s2"], "steps": [0, 2000], "measures": ["rank"]}
    job = submit_job(jobs_store, "evaluate", **params)
    page = cloned(client, job)
    assert value(page, "models") == "s1, s2"
    assert value(page, "steps") == "0, 2000"
    assert value(page, "measures") == "rank"
    assert "The new job would differ" not in page
    names = ("suite", "corpus", "models", "steps", "measures")
    sent = {n: v[1] for n in names if (v := re.search(r'value="([^"]*)"', field(page, n)))}
    repeated = client.post("/jobs", data={"kind": "evaluate", **sent})
    assert repeated.headers["location"] == f"/jobs/{job}"


def test_a_clone_names_changed_parameters(client: TestClient, jobs_store: Store) -> None:
    params = {"name": "mine", "files": [HOSTILE], "tokenizer": "mini"}
    job = queue.insert(jobs_store, "add_corpus", params)[0].id
    page = cloned(client, job)
    assert value(page, "files") == HOSTILE
    assert value(page, "tokenizer") == "mini"
    assert "The new job would differ" not in page
    file = jobs_store.settings.data_dir / "imports" / HOSTILE
    file.write_text(file.read_text() * 2)
    assert "The new job would differ in files:" in cloned(client, job)
    file.unlink()
    assert "These parameters are not valid now" in cloned(client, job)
    for path in ("/jobs", f"/jobs/{job}", f"/jobs?new=add_corpus&from={job}"):
        assert "<img" not in client.get(path).text


def test_values_of_jobs_are_escaped_on_their_pages(client: TestClient, jobs_store: Store) -> None:
    text = f"words {MARKUP} and more"
    job = queue.insert(jobs_store, "paste", {"text": text})[0].id
    job_table.start_attempt(jobs_store, job, 1, f"worker {MARKUP}")
    job_table.update_activity(jobs_store, job, f"now {MARKUP}", 1, 3)
    done = job_table.CompletedUnit(f'["{MARKUP}"]', f"on {MARKUP}", 1.5, is_stored=False)
    job_table.complete_unit(jobs_store, job, done, {"corpus": MARKUP})
    for path in (f"/jobs/{job}", "/jobs", f"/jobs?cmp={job},{job}"):
        page = client.get(path).text
        assert MARKUP not in page
        assert "<img" not in page
    page = client.get(f"/jobs/{job}").text
    assert page.count(html.escape(MARKUP)) >= 4  # log, step, worker, text


def test_forms_of_a_session_have_its_csrf_token(tmp_path: Path) -> None:
    with door(tmp_path, "the token of this server") as item:
        client = item.logged_in("the token of this server")
        page = client.get("/jobs?new=export").text
        form = page[page.index("data-job-form") :]
        token = csrf_of(form)
        sent = {"kind": "export", "act": "estimate", "what": "losses"}
        answer = client.post("/jobs", data=sent, headers=OWN)
        assert answer.status_code == 403
        answer = client.post("/jobs", data={**sent, "csrf": token}, headers=OWN)
        assert answer.status_code == 422


def test_log_events_start_after_a_cursor(client: TestClient, jobs_store: Store) -> None:
    job = discovery(jobs_store, stride=31)
    job_table.start_attempt(jobs_store, job, 1, "someone")
    page = client.get(f"/jobs/{job}").text
    cursor = re.findall(r'data-cursor="(\d+)"', page)[0]
    job_table.cancel(jobs_store, job)
    address = f"/api/v1/jobs/{job}/events"
    assert "event: log" not in client.get(address).text
    full, rest = (
        client.get(f"{address}?cursor=0").text,
        client.get(f"{address}?cursor={cursor}").text,
    )
    assert "started by someone" in full
    assert "started by someone" not in rest
    assert "cancelling" in rest
    assert rest.index("event: log") < rest.index("event: job")
    last = re.findall(r"^id: (\d+)$", rest, re.M)[-1]
    after = client.get(f"{address}?cursor=0", headers={"Last-Event-ID": last}).text
    assert "event: log" not in after
