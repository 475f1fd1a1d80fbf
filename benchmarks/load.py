"""Many readers while a job computes: error rate, latency, memory, and where throughput ends.

64 clients, each one mixed read a second (`benchmarks.reads` says which), at its own phase and
whether or not earlier answers are there yet: latency counts from the moment a read is due. The
server is a real `quanta serve` over a copy of a data directory, its worker evaluates every
checkpoint again with rank and entropy, which a demo does not have, and is at it from before the
first read to after the last. What is measured begins half a minute into that: a server that has
just started puts together once what pages share. Then clients without pauses show how many reads a
second the server answers at most.

The worker and its processes are kept on one core; the server shares another one with the clients,
unless there is a third for them. Budget: no error, p95 150 ms for pages and the figures they
fetch, 100 ms for the API, 800 MB of memory of the server without its worker.

`python -m benchmarks.load [DATA_DIR] [--seconds 30] [--json FILE]`; exits 1 if over its budget.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.clients import Read, Sample, Throughput, closed_loop, one_by_one, open_loop
from benchmarks.reads import API, Known, Mix, known
from benchmarks.served import HOST, Server, copied, cpu_seconds, place, server, until

SEED = 0
BUDGET_MS = {"page": 150.0, "API": 100.0}
BUDGET_MB = 800.0
STEPS = (1, 2, 4, 8, 16, 32, 64)
STEP_SECONDS = 5.0
MOST_A_SECOND = 400  # reads that are made ready for a client without pauses
RISING = 1.05  # less than this much more throughput twice: it has stopped rising


@dataclass(frozen=True)
class Row:
    """Latencies of one kind of read, milliseconds."""

    kind: str
    n: int
    errors: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, kind: str, samples: Sequence[Sample]) -> "Row":
        """Return the row of some samples; what failed counts in the latencies too."""
        taken = [sample.milliseconds for sample in samples]
        p50, p95, p99 = np.quantile(taken, (0.5, 0.95, 0.99)).tolist()
        errors = sum(sample.is_error for sample in samples)
        return cls(kind, len(taken), errors, p50, p95, p99, max(taken))

    def __str__(self) -> str:
        numbers = "".join(f"{ms:9.1f}" for ms in (self.p50, self.p95, self.p99, self.max))
        return f"  {self.kind:24s}{self.n:6d}{self.errors:8d}{numbers}"


def _job(running: Server, job: str) -> Any:
    return running.ask(f"{API}/jobs/{job}")


def begun_job(running: Server, store: Known) -> str:
    """Ask for an evaluation of everything with rank and entropy, and wait until it computes."""
    asked = {"corpus": store.corpus, "suite": store.suite, "measures": ["rank", "entropy"]}
    job = str(running.ask(f"{API}/jobs", {"kind": "evaluate", "parameters": asked})["id"])
    until(lambda: _job(running, job)["state"] != "queued", "no worker has begun the job")
    return job


def check_running(running: Server, job: str, when: str) -> None:
    """End the run unless the job computes: what was measured beside nothing says nothing."""
    view = _job(running, job)
    if view["state"] != "running":
        sys.exit(
            f"error: {when} the measurement the job was {view['state']} "
            f"({view['done']} of {view['total']} units; {view['problem'] or 'no problem'}).\n"
            "Measure for fewer seconds, or on a store whose rank and entropy are not evaluated."
        )


def missing_kinds(running: Server, store: Known) -> frozenset[str]:
    """Return the kinds of reads that this server has no route for; others must be answered."""
    missing = set()
    for read, status in one_by_one(HOST, running.port, Mix(store, SEED).each()):
        if status == 404:
            missing.add(read.kind)
        elif status != 200:
            sys.exit(f"error: {read.path} was answered {status}.")
    return frozenset(missing)


@dataclass(frozen=True)
class Report:
    """What was measured."""

    placed: str
    clients: int
    seconds: float
    rows: tuple[Row, ...]
    budgets: tuple[Row, ...]
    peak_mb: float
    server_core_share: float
    job_core_share: float
    throughput: tuple[Throughput, ...]
    without: tuple[str, ...]

    @property
    def saturation(self) -> float:
        """Reads a second at most."""
        return max((one.reads_per_second for one in self.throughput), default=0.0)

    def faults(self) -> list[str]:
        """Return what is not as it must be."""
        found = [
            f"p95 of {row.kind} {row.p95:.0f} ms > {BUDGET_MS[row.kind]:.0f} ms"
            for row in self.budgets
            if row.p95 > BUDGET_MS[row.kind]
        ]
        errors = sum(row.errors for row in self.budgets)
        errors += sum(one.errors for one in self.throughput)
        if errors:
            found.append(f"{errors} errors")
        if self.peak_mb > BUDGET_MB:
            found.append(f"memory {self.peak_mb:.0f} MB > {BUDGET_MB:.0f} MB")
        return found


def _rows(samples: Sequence[Sample], name: Callable[[Sample], str]) -> tuple[Row, ...]:
    by_name = defaultdict(list)
    for sample in samples:
        by_name[name(sample)].append(sample)
    return tuple(Row.of(kind, found) for kind, found in by_name.items())


def saturated(running: Server, mix: Mix, seconds: float) -> list[Throughput]:
    """Return the throughput of more and more clients without pauses, until it stops rising."""
    found: list[Throughput] = []
    best, flat = 0.0, 0
    for clients in STEPS:
        n = round(MOST_A_SECOND * seconds)
        plans = [mix.reads(max(10, n // clients)) for _ in range(clients)]
        found.append(closed_loop(HOST, running.port, plans, seconds))
        rate = found[-1].reads_per_second
        flat = 0 if rate > RISING * best else flat + 1
        best = max(best, rate)
        if flat == 2:
            break
    return found


def measured(running: Server, arguments: argparse.Namespace) -> Report:
    """Return what readers see while a job computes, and the throughput at most."""
    placed = place(running)
    store = known(running.base)
    without = missing_kinds(running, store)
    mix = Mix(store, SEED, without)
    job = begun_job(running, store)

    def plans(seconds: float) -> list[list[Read]]:
        return [mix.reads(round(seconds)) for _ in range(arguments.clients)]

    open_loop(HOST, running.port, plans(arguments.warm_up), running.sample_memory)
    check_running(running, job, "before")
    place(running)  # processes that the job has started since
    watched = running.servers(), running.workers()
    before, began = [cpu_seconds(those) for those in watched], time.perf_counter()
    samples = open_loop(HOST, running.port, plans(arguments.seconds), running.sample_memory)
    took = time.perf_counter() - began
    shares = [(cpu_seconds(p) - was) / took for p, was in zip(watched, before, strict=True)]
    check_running(running, job, "at the end of")
    throughput = saturated(running, mix, arguments.step_seconds)
    running.sample_memory()
    return Report(
        placed=placed,
        clients=arguments.clients,
        seconds=arguments.seconds,
        rows=_rows(samples, lambda sample: sample.read.kind),
        budgets=_rows(samples, lambda sample: sample.read.budget),
        peak_mb=running.peak_mb,
        server_core_share=shares[0],
        job_core_share=shares[1],
        throughput=tuple(throughput),
        without=tuple(sorted(without)),
    )


def show(report: Report) -> None:
    """Print a report."""
    print(f"{report.clients} clients, a read a second each, {report.seconds:g} s; {report.placed}")
    if report.without:
        print(f"left out, since this server has no such page: {', '.join(report.without)}")
    names = ("p50", "p95", "p99", "max")
    print(f"  {'kind':24s}{'n':>6s}{'errors':>8s}" + "".join(f"{name:>9s}" for name in names))
    for row in sorted(report.rows, key=lambda row: -row.p95):
        print(row)
    print("together, ms")
    for row in report.budgets:
        print(f"{row}   budget p95 {BUDGET_MS[row.kind]:.0f}")
    print(f"memory of the server at most {report.peak_mb:.0f} MB, budget {BUDGET_MB:.0f} MB")
    print(
        f"cores used: server {report.server_core_share:.2f}, job {report.job_core_share:.2f} "
        "(it ran from before the first read to after the last)"
    )
    print("without pauses, the job still running or just ended:")
    for one in report.throughput:
        print(
            f"  {one.clients:3d} clients {one.reads_per_second:7.1f} reads/s, errors {one.errors}"
        )
    print(f"saturation {report.saturation:.1f} reads/s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("data_dir", nargs="?", type=Path, default=Path("var"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--warm-up", type=float, default=30, help="seconds at the same rate before")
    parser.add_argument("--step-seconds", type=float, default=STEP_SECONDS)
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("options", nargs="*", help="after --: more options of `quanta serve`")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and exit 1 if the server is over its budget."""
    arguments = _arguments()
    with TemporaryDirectory(prefix="quanta-load-") as folder:
        copy = copied(arguments.data_dir, Path(folder) / "data")
        with server(copy, arguments.options) as running:
            report = measured(running, arguments)
    show(report)
    faults = report.faults()
    if arguments.json:
        whole = asdict(report) | {"saturation": report.saturation, "faults": faults}
        arguments.json.write_text(json.dumps(whole, indent=2) + "\n")
    print("within budget" if not faults else f"OVER BUDGET: {'; '.join(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
