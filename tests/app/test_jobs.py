"""Routes and forms of jobs: parameters, origins and responses."""

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.jobs.kinds.paste import MAX_TEXT
from tests.app.test_error_shape import is_problem
from tests.stores import MARKUP

OWN = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/json"}
FORM = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/x-www-form-urlencoded"}
URL = "/api/v1/jobs"


def body(names: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    params = {"corpus": names["corpus"], "document": 2, "target": "⏎", "checkpoints": "one"}
    return {"kind": "measure", "parameters": {**params, **parameters}}


def test_a_submitted_job_has_a_location_and_is_listed(
    client: TestClient, names: dict[str, Any]
) -> None:
    answer = client.post(URL, json=body(names), headers={**OWN, "Idempotency-Key": "a-key"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"{URL}/{job['id']}"
    assert client.get(answer.headers["location"]).json()["state"] == "queued"
    repeated = client.post(URL, json=body(names), headers={**OWN, "Idempotency-Key": "a-key"})
    assert repeated.json()["id"] == job["id"]
    assert job["id"] in [row["id"] for row in client.get(URL).json()["jobs"]]
    other = body(names, document=3)
    is_problem(client.post(URL, json=other, headers={**OWN, "Idempotency-Key": "a-key"}), 409)


@pytest.mark.parametrize(
    ("kind", "parameters", "field"),
    [
        ("measure", {"target": "no such token"}, "target"),
        ("measure", {"document": -1}, "parameters.document"),
        ("measure", {"document": True}, "parameters.document"),
        ("measure", {"surprise": 1}, "parameters.surprise"),
        ("paste", {"text": ""}, "text"),
        ("paste", {"text": "x" * (MAX_TEXT + 1)}, "text"),
        ("delete", {}, "kind"),
    ],
)
def test_an_invalid_parameter_is_a_422_that_names_it(
    client: TestClient, names: dict[str, Any], kind: str, parameters: Any, field: str
) -> None:
    params = body(names)["parameters"] if kind == "measure" else {}
    sent = {"kind": kind, "parameters": {**params, **parameters}}
    document = is_problem(client.post(URL, json=sent, headers=OWN), 422)
    assert document["errors"][0]["parameter"] == field


def test_a_job_from_another_origin_is_refused(client: TestClient, names: dict[str, Any]) -> None:
    before = client.get(URL).json()
    for url, headers in ((URL, OWN), (f"/documents/{names['corpus']}/paste", FORM)):
        for origin in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = client.post(url, content=b"text=forged+words", headers={**headers, **origin})
            assert answer.status_code == 403
    is_problem(client.post(URL, json=body(names), headers=FORM), 415)
    assert client.get(URL).json() == before


def test_a_form_redirects_to_the_page_of_its_job(client: TestClient, names: dict[str, Any]) -> None:
    text = f"words {MARKUP} 漢字 and more"
    answer = client.post(
        f"/documents/{names['corpus']}/paste",
        data={"text": text, "checkpoints": "final"},
        headers=FORM,
        follow_redirects=False,
    )
    assert answer.status_code == 303
    page = client.get(answer.headers["location"])
    assert page.status_code == 200
    assert "Refresh" in page.text
    assert MARKUP not in page.text
    assert "漢字" in page.text
    answer = client.post(
        f"/documents/{names['corpus']}/4/measure",
        data={"target": "⏎", "checkpoints": "final", "model": "", "step": ""},
        headers=FORM,
        follow_redirects=False,
    )
    assert answer.status_code == 303
    job = client.get(f"/api/v1{answer.headers['location']}").json()
    assert job["parameters"]["checkpoints"] == [[f"s{i}", 2000] for i in range(1, 6)]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "text"),
        (b"text=+", "text"),
        (b"text=x+y&checkpoints=every", "checkpoints"),
        (b"text=x+y&suite=%00", "suite"),
    ],
)
def test_an_invalid_form_names_its_field(
    client: TestClient, names: dict[str, Any], content: bytes, field: str
) -> None:
    answer = client.post(f"/documents/{names['corpus']}/paste", content=content, headers=FORM)
    assert answer.status_code == 422
    problem = re.search(r"</h1>\s*<p>(.*?)</p>", answer.text, re.S)
    assert problem is not None
    assert field in problem[1], "not only elsewhere on the page"


@pytest.mark.parametrize(
    "content", [b"text=%ff", "text=é".encode(), b"&".join([b"a=1"] * 40), b"\x00", b"text=\xed"]
)
def test_a_malformed_form_is_a_422(
    client: TestClient, names: dict[str, Any], content: bytes
) -> None:
    answer = client.post(f"/documents/{names['corpus']}/paste", content=content, headers=FORM)
    assert answer.status_code == 422


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


def test_a_cancelled_job_sends_its_end_as_an_event_and_can_be_resumed_once(
    client: TestClient, names: dict[str, Any]
) -> None:
    job = client.post(URL, json=body(names, document=5), headers=OWN).json()
    where = f"{URL}/{job['id']}"
    stopped = client.post(f"{where}/cancel", json={}, headers=OWN)
    assert (stopped.status_code, stopped.json()["state"]) == (202, "cancelled")
    answer = client.get(f"{where}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert [event["state"] for event in events_of(answer.text)] == ["cancelled"]
    repeated = client.post(f"{where}/resume", json={}, headers=OWN)
    assert (repeated.status_code, repeated.json()["attempt"]) == (202, 2)
    is_problem(client.post(f"{where}/resume", json={}, headers=OWN), 409)
    for act in ("cancel", "resume", "events"):
        method = client.get if act == "events" else client.post
        is_problem(method(f"{URL}/j0/{act}", headers=OWN), 404)
    client.post(f"{where}/cancel", json={}, headers=OWN)


def test_the_page_of_jobs_lists_and_submits_jobs(client: TestClient, names: dict[str, Any]) -> None:
    job = client.post(URL, json=body(names, document=6), headers=OWN).json()
    page = client.get("/jobs")
    assert f"/jobs/{job['id']}" in page.text
    fields = {"kind": "classify", "suite": names["suite"], "corpus": names["corpus"], "models": ""}
    sent = client.post("/jobs", data=fields, headers=FORM, follow_redirects=False)
    assert sent.status_code == 303
    assert "Classes of curves" in client.get(sent.headers["location"]).text
    for act, word in (("cancel", "Resume"), ("resume", "Cancel")):
        where = f"/jobs/{job['id']}/{act}"
        client.post(where, data={"x": "y"}, headers=FORM, follow_redirects=False)
        assert f">{word}<" in client.get(f"/jobs/{job['id']}").text
    assert client.post("/jobs", data={"kind": "paste"}, headers=FORM).status_code == 422
