"""Invariants of jobs, whatever is requested and whichever worker ends."""

from typing import Any

from fastapi.testclient import TestClient

from tests.app.test_jobs import events_of

URL = "/api/v1/jobs"
OWN = {"Origin": "http://127.0.0.1:8000", "Content-Type": "application/json"}
OPEN = {"queued": 0, "running": 1, "cancelling": 2}
ENDED = {"finished", "failed", "cancelled"}


def _is_allowed(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a job may change from one view to a later one, perhaps through states in between."""
    if new["attempt"] != old["attempt"]:
        # Resumed after a failure or a cancellation that may not have been observed.
        return bool(new["attempt"] > old["attempt"] and old["state"] != "finished")
    if old["state"] in ENDED:
        return bool(new["state"] == old["state"])
    if old["state"] == "cancelling":
        return new["state"] in {"cancelling", "cancelled"}
    return new["state"] in ENDED or OPEN[new["state"]] >= OPEN[old["state"]]


class Watch:
    """Reads all jobs over HTTP and compares them with the views before."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.views: dict[str, dict[str, Any]] = {}

    def read(self) -> dict[str, dict[str, Any]]:
        """All jobs by id; fails if a job changed in a way that is not allowed."""
        jobs = {
            job["id"]: job for job in self.client.get(URL, params={"limit": 200}).json()["jobs"]
        }
        assert jobs.keys() >= self.views.keys(), "no job is forgotten"
        for name, job in jobs.items():
            assert 0 <= job["done"] <= (job["done"] if job["total"] is None else job["total"]), job
            assert (job["finished_at"] is not None) == (job["state"] in ENDED), job
            assert (job["problem"] is not None) == (job["state"] == "failed"), job
            old = self.views.get(name, job)
            assert _is_allowed(old, job), (old, job)
            assert job["updated_at"] >= old["updated_at"], (old, job)
            assert job["done"] >= old["done"], "what is committed stays"
        claims = [
            str(j["parameters"]) for j in jobs.values() if j["state"] not in {"failed", "cancelled"}
        ]
        assert len(claims) == len(set(claims)), "one open or finished job for each request"
        self.views = jobs
        return jobs

    def agree(self) -> None:
        """Each job's view equals its row of the list; only for jobs without a worker."""
        for name, job in self.read().items():
            assert self.client.get(f"{URL}/{name}").json() == job

    def follow(self, name: str) -> None:
        """The events of an ended job are its last state."""
        answer = self.client.get(f"{URL}/{name}/events")
        assert [event["state"] for event in events_of(answer.text)] == [self.views[name]["state"]]
