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
from backend.jobs import job_table, leases, submission
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
def runs_store(mini_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A copy whose jobs no other test sees, with files to import of which one has a bad name."""
    folder = copy_store(mini_store, tmp_path_factory.mktemp("runs") / "data")
    (folder / "imports").mkdir()
    line = '{"id": "1", "source": "s", "license": "l", "text": "some words"}\n'
    (folder / "imports" / HOSTILE).write_text(line)
    store = open_store(Settings(data_dir=folder))
    yield store
    store.engine.dispose()


@pytest.fixture(scope="module")
def runs(runs_store: Store) -> Iterator[TestClient]:
    app: FastAPI = create_app(runs_store)
    with local_client(app, headers=OWN, follow_redirects=False) as client:
        yield client


def submitted(store: Store, kind: str, **asked: Any) -> str:
    return submission.submit(store, kind, {"suite": "mini", "corpus": CORPUS, **asked})[0].id


def discovery(store: Store, **asked: Any) -> str:
    return submitted(store, "discover", n_clusters=[3, 4], **asked)


def field(page: str, name: str) -> str:
    """The part of a page that holds a field."""
    found = re.search(rf'<div class="field[^>]*>\s*<label for="p-{name}".*?</div>', page, re.S)
    assert found is not None, name
    return html.unescape(found[0])


def value(page: str, name: str) -> str:
    found = re.search(r'value="([^"]*)"', field(page, name))
    assert found is not None
    return found[1]


def test_an_empty_store_has_every_form_and_says_that_no_worker_is_running(tmp_path: Path) -> None:
    with door(tmp_path) as one, local_client(one.app) as client:
        page = client.get("/jobs").text
    assert "No job yet" in page
    assert "No worker is running" in page
    for kind in KINDS.values():
        assert (f'href="/jobs?new={kind.name}"' in page) == kind.has_form


@pytest.mark.parametrize("kind", [k for k in KINDS.values() if k.has_form], ids=lambda k: k.name)
def test_a_form_has_every_parameter_of_its_schema_with_bounds(runs: TestClient, kind: Any) -> None:
    page = runs.get("/jobs", params={"new": kind.name}).text
    schema = kind.schema.model_json_schema()
    for name, about in schema["properties"].items():
        shown = field(page, name)
        assert about["title"] in shown
        assert about.get("description", "") in shown
        assert (" required" in shown) == (name in schema.get("required", ()))
        assert ("required</span>" in shown) == (name in schema.get("required", ()))
        if about.get("type") == "integer" and "maximum" in about:
            assert f'max="{about["maximum"]}"' in shown
        for option in about.get("enum", ()):
            assert f'<option value="{option}"' in shown
    assert f'data-job-form="{kind.name}"' in page


def test_forms_offer_what_is_stored_and_what_can_be_imported(runs: TestClient) -> None:
    page = runs.get("/jobs?new=discover").text
    assert f'<option value="{CORPUS}"' in field(page, "corpus")
    assert '<option value="s3">' in field(page, "model")
    assert 'placeholder="0.1"' in field(page, "max_loss_nats")
    page = runs.get("/jobs?new=add_corpus").text
    assert HOSTILE in field(page, "files")
    assert "<img" not in page


def test_an_address_fills_the_form_in(runs: TestClient) -> None:
    page = runs.get("/jobs", params={"new": "discover", "model": '"><b>x', "limit": "77"}).text
    assert value(page, "limit") == "77"
    assert "<b>x" not in page
    assert '<details class="new-job" id="new" data-new-job open>' in page
    assert "data-new-job open" in runs.get("/jobs?new=export").text
    discovery_form = runs.get("/jobs?kind=discover&cmp=").text
    assert 'data-job-form="discover"' in discovery_form
    for wrong in ("new=paste", "new=nothing", "kind=nothing", "state=lost", "cmp=a", "from=%00"):
        assert runs.get(f"/jobs?{wrong}").status_code == 422, wrong
    assert runs.get("/jobs?from=j0").status_code == 404


def test_faults_stand_at_their_field_and_what_was_entered_stays(runs: TestClient) -> None:
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
        answer = runs.post("/jobs", data={**sent, "act": act})
        assert answer.status_code == 422
        assert "greater than 0" in field(answer.text, "max_loss_nats")
        assert "value 2: " in field(answer.text, "n_clusters")
        assert 'aria-invalid="true"' in field(answer.text, "n_clusters")
        assert "aria-invalid" not in field(answer.text, "model")
        assert value(answer.text, "model") == "s2"
        assert value(answer.text, "n_clusters") == "5, many"
        assert '<option value="cuda" selected>' in answer.text
    answer = runs.post("/jobs", data={"kind": "discover", "suite": "mini", "corpus": CORPUS})
    assert "Is needed" in field(answer.text, "n_clusters")


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"corpus": "nowhere"}, "corpus", "there is no corpus 'nowhere'"),
        ({"model": "s99"}, "model", "has no model 's99'"),
        ({"model": "s1", "step": "7"}, "step", "model s1 has no step 7"),
    ],
)
def test_what_is_not_stored_is_said_at_its_field(
    runs: TestClient, changes: dict[str, str], name: str, words: str
) -> None:
    known = {"kind": "discover", "suite": "mini", "corpus": CORPUS, "n_clusters": "5"}
    answer = runs.post("/jobs", data={**known, **changes})
    assert answer.status_code == 422
    assert words in field(answer.text, name)
    assert 'class="error" role="alert"' not in answer.text


def test_a_fault_of_no_field_stands_above_the_form(runs: TestClient) -> None:
    answer = runs.post("/jobs", data={"kind": "export", "what": "curves", "suite": "mini"})
    assert answer.status_code == 422
    assert "curves need a suite and a corpus" in answer.text
    assert 'role="alert"' in answer.text


def test_an_estimate_queues_nothing_and_names_an_equal_job(
    runs: TestClient, runs_store: Store
) -> None:
    sent = {"kind": "evaluate", "suite": "mini", "corpus": CORPUS, "models": "s1, s2"}
    before = job_table.list_jobs(runs_store)
    answer = runs.post("/jobs", data={**sent, "act": "estimate"})
    assert answer.status_code == 200
    assert job_table.list_jobs(runs_store) == before
    assert "FLOP" in answer.text
    assert " chunks · " in answer.text
    assert "no job of this kind has finished here yet" in answer.text
    assert value(answer.text, "models") == "s1, s2"
    assert "Equal config" not in answer.text
    job = runs.post("/jobs", data=sent).headers["location"]
    answer = runs.post("/jobs", data={**sent, "act": "estimate"})
    assert f'Equal config → <a href="{job}">the same job, queued</a>' in answer.text
    job_table.start_attempt(runs_store, job.removeprefix("/jobs/"), 1, "nobody")
    job_table.finish(runs_store, job.removeprefix("/jobs/"), {})
    answer = runs.post("/jobs", data={**sent, "act": "estimate"})
    assert f'Equal config → <a href="{job}">cached result</a>' in answer.text
    assert "Finished" in runs.get(job).text


def test_the_list_is_filtered_by_state_and_kind(runs: TestClient, runs_store: Store) -> None:
    stopped, waits = discovery(runs_store, stride=11), discovery(runs_store, stride=12)
    job_table.cancel(runs_store, stopped)

    def shown(**asked: str) -> set[str]:
        page = runs.get("/jobs", params=asked).text
        return set(re.findall(r'data-job-row="([^"]+)"', page))

    assert {stopped, waits} <= shown(state="", kind="discover")
    assert stopped in shown(state="cancelled")
    assert waits not in shown(state="cancelled")
    assert not {stopped, waits} & shown(kind="paste")
    assert "No job matches" in runs.get("/jobs?kind=paste&state=failed").text
    assert "/api/v1/jobs?state=cancelled" in runs.get("/jobs?state=cancelled").text


def test_a_queued_job_says_what_it_waits_for(runs: TestClient, runs_store: Store) -> None:
    job = submission.submit(
        runs_store, "classify", {"suite": "mini", "corpus": CORPUS}, None, "cuda"
    )[0].id
    assert "waiting for a worker<" in runs.get("/jobs?kind=classify").text
    worker = leases.register_worker(runs_store, "cpu")
    try:
        page = runs.get("/jobs?kind=classify").text
        assert "waiting for a worker with CUDA" in page
        assert "<td>idle</td>" in page  # the worker's own row
        assert "Waiting for a worker with CUDA" in runs.get(f"/jobs/{job}").text
        job_table.start_attempt(runs_store, job, 1, worker)
        assert "waiting for a worker with CUDA" in runs.get("/jobs?kind=classify").text
    finally:
        leases.release_lease(runs_store, worker)
    assert "interrupted, waiting for a worker" in runs.get("/jobs?kind=classify").text


def test_two_jobs_are_compared_by_parameters_and_outcomes(
    runs: TestClient, runs_store: Store
) -> None:
    left, right = discovery(runs_store, stride=21), discovery(runs_store, stride=22)
    ticked = runs.get("/jobs", params={"cmp": [left, right], "kind": "discover"})
    assert ticked.status_code == 303
    assert ticked.headers["location"] == f"/jobs?kind=discover&cmp={left}%2C{right}"
    page = runs.get(ticked.headers["location"]).text
    table = page[page.index("Parameters that differ") : page.index("equal parameters")]
    assert re.findall(r"<th scope=\"row\">(.*?)</th>", table) == ["Stride"]
    assert "≠ differs" in table
    assert [left in table, right in table] == [True, True]
    folded = page[page.index("Equal parameters") : page.index("Results and times")]
    assert "Numbers of clusters" in folded
    assert "differs" not in folded
    other = submitted(runs_store, "evaluate", models=["s1"])
    page = runs.get(f"/jobs?cmp={left},{other}").text
    assert (
        "Evaluation" in page[page.index("Parameters that differ") : page.index("Results and times")]
    )


def cloned(runs: TestClient, job: str) -> str:
    found = re.search(r'href="(/jobs\?new=[^"]+)">Clone', runs.get(f"/jobs/{job}").text)
    assert found is not None
    return runs.get(html.unescape(found[1])).text


def test_a_clone_asks_for_the_same_job(runs: TestClient, runs_store: Store) -> None:
    asked = {"corpus": CORPUS, "models": ["s1", "s2"], "steps": [0, 2000], "measures": ["rank"]}
    job = submitted(runs_store, "evaluate", **asked)
    page = cloned(runs, job)
    assert value(page, "models") == "s1, s2"
    assert value(page, "steps") == "0, 2000"
    assert value(page, "measures") == "rank"
    assert "The new job would differ" not in page
    names = ("suite", "corpus", "models", "steps", "measures")
    sent = {n: v[1] for n in names if (v := re.search(r'value="([^"]*)"', field(page, n)))}
    again = runs.post("/jobs", data={"kind": "evaluate", **sent})
    assert again.headers["location"] == f"/jobs/{job}"


def test_a_clone_says_what_changed_since(runs: TestClient, runs_store: Store) -> None:
    known = {"name": "mine", "files": [HOSTILE], "tokenizer": "mini"}
    job = submission.submit(runs_store, "add_corpus", known)[0].id
    page = cloned(runs, job)
    assert value(page, "files") == HOSTILE
    assert value(page, "tokenizer") == "mini"
    assert "The new job would differ" not in page
    file = runs_store.settings.data_dir / "imports" / HOSTILE
    file.write_text(file.read_text() * 2)
    assert "The new job would differ in files:" in cloned(runs, job)
    file.unlink()
    assert "These parameters are not valid now" in cloned(runs, job)
    for path in ("/jobs", f"/jobs/{job}", f"/jobs?new=add_corpus&from={job}"):
        assert "<img" not in runs.get(path).text


def test_what_jobs_hold_is_text_on_their_pages(runs: TestClient, runs_store: Store) -> None:
    text = f"words {MARKUP} and more"
    job = submission.submit(runs_store, "paste", {"text": text})[0].id
    job_table.start_attempt(runs_store, job, 1, f"worker {MARKUP}")
    job_table.update_activity(runs_store, job, f"now {MARKUP}", 1, 3)
    done = job_table.CompletedUnit(f'["{MARKUP}"]', f"on {MARKUP}", 1.5, is_stored=False)
    job_table.complete_unit(runs_store, job, done, {"corpus": MARKUP})
    for path in (f"/jobs/{job}", "/jobs", f"/jobs?cmp={job},{job}"):
        page = runs.get(path).text
        assert MARKUP not in page
        assert "<img" not in page
    page = runs.get(f"/jobs/{job}").text
    assert page.count(html.escape(MARKUP)) >= 4  # log, step, worker, text


def test_forms_of_a_session_carry_its_proof(tmp_path: Path) -> None:
    with door(tmp_path, "the token of this server") as one:
        client = one.logged_in("the token of this server")
        page = client.get("/jobs?new=export").text
        form = page[page.index("data-job-form") :]
        token = csrf_of(form)
        sent = {"kind": "export", "act": "estimate", "what": "losses"}
        answer = client.post("/jobs", data=sent, headers=OWN)
        assert answer.status_code == 403
        answer = client.post("/jobs", data={**sent, "csrf": token}, headers=OWN)
        assert answer.status_code == 422


def test_lines_of_the_log_come_as_events_after_a_cursor(
    runs: TestClient, runs_store: Store
) -> None:
    job = discovery(runs_store, stride=31)
    job_table.start_attempt(runs_store, job, 1, "someone")
    page = runs.get(f"/jobs/{job}").text
    cursor = re.findall(r'data-cursor="(\d+)"', page)[0]
    job_table.cancel(runs_store, job)
    address = f"/api/v1/jobs/{job}/events"
    assert "event: log" not in runs.get(address).text
    whole, rest = runs.get(f"{address}?cursor=0").text, runs.get(f"{address}?cursor={cursor}").text
    assert "started by someone" in whole
    assert "started by someone" not in rest
    assert "cancelling" in rest
    assert rest.index("event: log") < rest.index("event: job")
    last = re.findall(r"^id: (\d+)$", rest, re.M)[-1]
    after = runs.get(f"{address}?cursor=0", headers={"Last-Event-ID": last}).text
    assert "event: log" not in after
