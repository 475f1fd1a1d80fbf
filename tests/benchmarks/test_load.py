"""The load benchmark runs on a small store and reports violated budgets."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from backend.store.database import Store
from benchmarks.clients import (
    Request,
    Sample,
    Throughput,
    closed_loop,
    open_loop,
    send_sequentially,
)
from benchmarks.load import Report, Row
from benchmarks.request_mix import RequestMix, fetch_contents
from tests.processes import ROOT, Server
from tests.stores import copy_store

P = ParamSpec("P")
T = TypeVar("T")
KINDS = {"overview", "cluster", "prediction", "search, shape", "heat", "search POST", "jobs"}


def _host_and_port(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in another thread: a browser of another test keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *args, **kwargs).result()


def test_every_kind_of_request_is_answered(server: Server) -> None:
    requests = RequestMix(fetch_contents(server.url), 0).one_per_kind()
    assert {request.kind for request in requests} >= KINDS
    results = _in_thread(send_sequentially, *_host_and_port(server), requests)
    assert [request.kind for request, status in results if status != 200] == []


def test_a_seed_reproduces_the_weighted_mix(server: Server) -> None:
    store = fetch_contents(server.url)
    requests = RequestMix(store, 7).sample(3000)
    assert requests == RequestMix(store, 7).sample(3000)
    assert requests != RequestMix(store, 8).sample(3000)
    share = sum(request.kind == "cluster" for request in requests) / len(requests)
    assert 0.08 < share < 0.14
    assert len({request.path for request in requests}) > 500


def test_requests_are_sent_when_due_and_failures_are_counted(server: Server) -> None:
    good, bad = Request("a", "page", "/healthz"), Request("b", "page", "/no/such/page")
    ticks: list[int] = []
    plans = [[good, bad, good], [good] * 3]
    samples = _in_thread(open_loop, *_host_and_port(server), plans, lambda: ticks.append(1))
    assert [sample.status for sample in samples] == [200, 404, 200, 200, 200, 200]
    assert [sample.is_error for sample in samples].count(True) == 1
    assert len(ticks) >= 4  # every half second for three seconds
    refused = _in_thread(open_loop, "127.0.0.1", 1, [[good]], lambda: None)
    assert [sample.status for sample in refused] == [0]
    throughput = _in_thread(closed_loop, *_host_and_port(server), [[good] * 20, [bad] * 20], 60)
    assert (throughput.clients, throughput.errors) == (2, 20)


@pytest.mark.parametrize(
    ("milliseconds", "status", "memory", "faults"),
    [(90.0, 200, 700, 0), (110.0, 200, 700, 1), (90.0, 500, 700, 1), (160.0, 0, 900, 3)],
)
def test_a_violated_budget_is_a_fault(
    milliseconds: float, status: int, memory: float, faults: int
) -> None:
    samples = [Sample(Request("x", "API", "/x"), status, milliseconds)] * 50
    rows = (Row.of("API", samples),)
    report = Report("", 1, 1, rows, rows, memory, 0, 0, (Throughput(1, 10.0, 0),))
    assert len(report.faults()) == faults


@pytest.mark.soak
def test_the_benchmark_runs_beside_a_job(mini_store: Store, tmp_path: Path) -> None:
    folder = copy_store(mini_store, tmp_path / "data")
    before = (folder / "quanta.sqlite").read_bytes()
    short = ("--seconds", "2", "--warm-up", "1", "--clients", "4", "--step-seconds", "0.5")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(folder), "--json", "out.json", *short],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode in {0, 1}, run.stderr  # a busy machine may be over the budget
    report = json.loads((tmp_path / "out.json").read_text())
    assert sum(row["n"] for row in report["rows"]) == 8
    assert sum(row["errors"] for row in report["rows"]) == 0
    assert report["saturation"] > 0
    assert report["peak_mb"] > 50
    assert report["job_core_share"] > 0
    assert ("OVER BUDGET" in run.stdout) is bool(report["faults"])
    assert (folder / "quanta.sqlite").read_bytes() == before
