"""Load test during a job: error rate, latency, memory and maximum throughput.

64 clients send one request per second each (`benchmarks.request_mix`), each at its own phase and
without waiting for earlier responses; latency counts from the due time of a request. The server is
a `quanta serve` over a copy of a data directory; its worker evaluates every checkpoint with rank
and entropy, which a demo does not have, during the whole measurement. The measurement starts after
a warm-up of half a minute, in which the server fills its caches. Then clients without pauses
measure the maximum throughput.

The worker is pinned to one core; server and clients share another one, or use two if there is a
third. Budget: no error, p95 150 ms for pages and figures, 100 ms for the API, 800 MB of memory of
the server without its worker.

`python -m benchmarks.load [DATA_DIR] [--seconds 30] [--json FILE]`; exits with 1 if over budget.
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

from benchmarks.clients import (
    Request,
    Sample,
    Throughput,
    closed_loop,
    open_loop,
    send_sequentially,
)
from benchmarks.request_mix import API, RequestMix, StoreContents, fetch_contents
from benchmarks.server import (
    HOST,
    Server,
    copy_data_dir,
    cpu_seconds,
    pin_cores,
    server,
    wait_until,
)

SEED = 0
BUDGET_MS = {"page": 150.0, "API": 100.0}
BUDGET_MB = 800.0
STEPS = (1, 2, 4, 8, 16, 32, 64)
STEP_SECONDS = 5.0
MAX_PER_SECOND = 400  # requests prepared per second and client without pauses
RISING = 1.05  # throughput is saturated after two steps with a smaller gain


@dataclass(frozen=True)
class Row:
    """Latencies of one kind of request, in milliseconds."""

    kind: str
    n: int
    errors: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, kind: str, samples: Sequence[Sample]) -> "Row":
        """Summarize samples; latencies include failed requests."""
        latencies = [sample.milliseconds for sample in samples]
        p50, p95, p99 = np.quantile(latencies, (0.5, 0.95, 0.99)).tolist()
        errors = sum(sample.is_error for sample in samples)
        return cls(kind, len(latencies), errors, p50, p95, p99, max(latencies))

    def __str__(self) -> str:
        numbers = "".join(f"{ms:9.1f}" for ms in (self.p50, self.p95, self.p99, self.max))
        return f"  {self.kind:24s}{self.n:6d}{self.errors:8d}{numbers}"


def _job(running: Server, job: str) -> Any:
    return running.request_json(f"{API}/jobs/{job}")


def start_job(running: Server, store: StoreContents) -> str:
    """Submit an evaluation of all checkpoints with rank and entropy; wait until it starts."""
    parameters = {"corpus": store.corpus, "suite": store.suite, "measures": ["rank", "entropy"]}
    job = str(
        running.request_json(f"{API}/jobs", {"kind": "evaluate", "parameters": parameters})["id"]
    )
    wait_until(lambda: _job(running, job)["state"] != "queued", "no worker has started the job")
    return job


def check_running(running: Server, job: str, when: str) -> None:
    """Exit unless the job is running; a measurement without load is meaningless."""
    view = _job(running, job)
    if view["state"] != "running":
        sys.exit(
            f"error: {when} the measurement the job was {view['state']} "
            f"({view['done']} of {view['total']} units; {view['problem'] or 'no problem'}).\n"
            "Measure for fewer seconds, or on a store whose rank and entropy are not evaluated."
        )


def check_requests(running: Server, mix: RequestMix) -> None:
    """Exit unless one request of every kind is answered with 200."""
    for request, status in send_sequentially(HOST, running.port, mix.one_per_kind()):
        if status != 200:
            sys.exit(f"error: {request.path} was answered with {status}.")


@dataclass(frozen=True)
class Report:
    """Results of the load test."""

    cores: str
    clients: int
    seconds: float
    rows: tuple[Row, ...]
    budgets: tuple[Row, ...]
    peak_mb: float
    server_core_share: float
    job_core_share: float
    throughput: tuple[Throughput, ...]

    @property
    def saturation(self) -> float:
        """Maximum throughput in requests per second."""
        return max((step.requests_per_second for step in self.throughput), default=0.0)

    def faults(self) -> list[str]:
        """Return the violated budgets."""
        faults = [
            f"p95 of {row.kind} {row.p95:.0f} ms > {BUDGET_MS[row.kind]:.0f} ms"
            for row in self.budgets
            if row.p95 > BUDGET_MS[row.kind]
        ]
        errors = sum(row.errors for row in self.budgets)
        errors += sum(step.errors for step in self.throughput)
        if errors:
            faults.append(f"{errors} errors")
        if self.peak_mb > BUDGET_MB:
            faults.append(f"memory {self.peak_mb:.0f} MB > {BUDGET_MB:.0f} MB")
        return faults


def _rows(samples: Sequence[Sample], name: Callable[[Sample], str]) -> tuple[Row, ...]:
    by_name = defaultdict(list)
    for sample in samples:
        by_name[name(sample)].append(sample)
    return tuple(Row.of(kind, group) for kind, group in by_name.items())


def saturate(running: Server, mix: RequestMix, seconds: float) -> list[Throughput]:
    """Measure the throughput of more and more clients without pauses, until it stops rising."""
    steps: list[Throughput] = []
    best, flat = 0.0, 0
    for clients in STEPS:
        n = round(MAX_PER_SECOND * seconds)
        plans = [mix.sample(max(10, n // clients)) for _ in range(clients)]
        steps.append(closed_loop(HOST, running.port, plans, seconds))
        rate = steps[-1].requests_per_second
        flat = 0 if rate > RISING * best else flat + 1
        best = max(best, rate)
        if flat == 2:
            break
    return steps


def measure(running: Server, arguments: argparse.Namespace) -> Report:
    """Measure latencies during a job, and the maximum throughput."""
    cores = pin_cores(running)
    store = fetch_contents(running.base)
    check_requests(running, RequestMix(store, SEED))
    mix = RequestMix(store, SEED)
    job = start_job(running, store)

    def plans(seconds: float) -> list[list[Request]]:
        return [mix.sample(round(seconds)) for _ in range(arguments.clients)]

    open_loop(HOST, running.port, plans(arguments.warm_up), running.sample_memory)
    check_running(running, job, "before")
    pin_cores(running)  # also the processes that the job has started
    groups = running.servers(), running.workers()
    before, start = [cpu_seconds(group) for group in groups], time.perf_counter()
    samples = open_loop(HOST, running.port, plans(arguments.seconds), running.sample_memory)
    elapsed = time.perf_counter() - start
    shares = [(cpu_seconds(p) - cpu) / elapsed for p, cpu in zip(groups, before, strict=True)]
    check_running(running, job, "at the end of")
    throughput = saturate(running, mix, arguments.step_seconds)
    running.sample_memory()
    return Report(
        cores=cores,
        clients=arguments.clients,
        seconds=arguments.seconds,
        rows=_rows(samples, lambda sample: sample.request.kind),
        budgets=_rows(samples, lambda sample: sample.request.budget),
        peak_mb=running.peak_mb,
        server_core_share=shares[0],
        job_core_share=shares[1],
        throughput=tuple(throughput),
    )


def show(report: Report) -> None:
    """Print a report."""
    print(f"{report.clients} clients, 1 request/s each, {report.seconds:g} s; {report.cores}")
    names = ("p50", "p95", "p99", "max")
    print(f"  {'kind':24s}{'n':>6s}{'errors':>8s}" + "".join(f"{name:>9s}" for name in names))
    for row in sorted(report.rows, key=lambda row: -row.p95):
        print(row)
    print("all kinds, ms")
    for row in report.budgets:
        print(f"{row}   budget p95 {BUDGET_MS[row.kind]:.0f}")
    print(f"peak memory of the server {report.peak_mb:.0f} MB, budget {BUDGET_MB:.0f} MB")
    print(
        f"cores used: server {report.server_core_share:.2f}, job {report.job_core_share:.2f} "
        "(running during the whole measurement)"
    )
    print("clients without pauses, the job running or just finished:")
    for step in report.throughput:
        print(
            f"  {step.clients:3d} clients {step.requests_per_second:7.1f} requests/s, "
            f"errors {step.errors}"
        )
    print(f"saturation {report.saturation:.1f} requests/s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("data_dir", nargs="?", type=Path, default=Path("var"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument(
        "--warm-up",
        type=float,
        default=30,
        help="warm-up at the same rate, in seconds (default 30)",
    )
    parser.add_argument("--step-seconds", type=float, default=STEP_SECONDS)
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    parser.add_argument("options", nargs="*", help="options of `quanta serve`, after --")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and exit with 1 if the server is over budget."""
    arguments = _arguments()
    with TemporaryDirectory(prefix="quanta-load-") as folder:
        copy = copy_data_dir(arguments.data_dir, Path(folder) / "data")
        with server(copy, arguments.options) as running:
            report = measure(running, arguments)
    show(report)
    faults = report.faults()
    if arguments.json:
        fields = asdict(report) | {"saturation": report.saturation, "faults": faults}
        arguments.json.write_text(json.dumps(fields, indent=2) + "\n")
    print("within budget" if not faults else f"OVER BUDGET: {'; '.join(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
