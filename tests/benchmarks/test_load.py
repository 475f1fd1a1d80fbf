"""The load benchmark runs on a small store, and says what is wrong with what it is given."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from backend.store.database import Store
from benchmarks.clients import Read, Sample, Throughput, closed_loop, one_by_one, open_loop
from benchmarks.load import Report, Row
from benchmarks.reads import Mix, known
from tests.processes import ROOT, Server
from tests.stores import copy_store

P = ParamSpec("P")
T = TypeVar("T")
KINDS = {"overview", "cluster", "prediction", "search, shape", "heat", "search POST", "jobs"}


def _place(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def _aside(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a thread of its own: a browser of another test keeps an event loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *args, **kwargs).result()


def test_every_kind_of_read_is_answered(server: Server) -> None:
    reads = Mix(known(server.url), 0).each()
    assert {read.kind for read in reads} >= KINDS
    statuses = {read.kind: status for read, status in _aside(one_by_one, *_place(server), reads)}
    pages_to_come = {"compare", "quanta-sequence"}
    assert {kind for kind, status in statuses.items() if status != 200} <= pages_to_come


def test_a_seed_draws_the_same_reads_and_weights_them(server: Server) -> None:
    store = known(server.url)
    reads = Mix(store, 7).reads(3000)
    assert reads == Mix(store, 7).reads(3000)
    assert reads != Mix(store, 8).reads(3000)
    share = sum(read.kind == "cluster" for read in reads) / len(reads)
    assert 0.08 < share < 0.14
    assert len({read.path for read in reads}) > 500


def test_reads_are_sent_when_they_are_due_and_failures_are_counted(server: Server) -> None:
    good, bad = Read("a", "page", "/healthz"), Read("b", "page", "/no/such/page")
    beats: list[int] = []
    plans = [[good, bad, good], [good] * 3]
    samples = _aside(open_loop, *_place(server), plans, lambda: beats.append(1))
    assert [sample.status for sample in samples] == [200, 404, 200, 200, 200, 200]
    assert [sample.is_error for sample in samples].count(True) == 1
    assert len(beats) >= 4  # three seconds, half a second each
    nobody = _aside(open_loop, "127.0.0.1", 1, [[good]], lambda: None)
    assert [sample.status for sample in nobody] == [0]
    most = _aside(closed_loop, *_place(server), [[good] * 20, [bad] * 20], 60)
    assert (most.clients, most.errors) == (2, 20)


@pytest.mark.parametrize(
    ("milliseconds", "status", "memory", "faults"),
    [(90.0, 200, 700, 0), (110.0, 200, 700, 1), (90.0, 500, 700, 1), (160.0, 0, 900, 3)],
)
def test_what_is_over_its_budget_is_a_fault(
    milliseconds: float, status: int, memory: float, faults: int
) -> None:
    samples = [Sample(Read("x", "API", "/x"), status, milliseconds)] * 50
    rows = (Row.of("API", samples),)
    report = Report("", 1, 1, rows, rows, memory, 0, 0, (Throughput(1, 10.0, 0),), ())
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
    found = json.loads((tmp_path / "out.json").read_text())
    assert sum(row["n"] for row in found["rows"]) == 8
    assert sum(row["errors"] for row in found["rows"]) == 0
    assert found["saturation"] > 0
    assert found["peak_mb"] > 50
    assert found["job_core_share"] > 0
    assert ("OVER BUDGET" in run.stdout) is bool(found["faults"])
    assert (folder / "quanta.sqlite").read_bytes() == before
