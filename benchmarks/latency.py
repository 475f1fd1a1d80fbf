"""Server latency of every page and every GET route of the API: one client, p50 and p95.

Budget: pages 100 ms, API routes 60 ms. Runs a server over the store of `QUANTA_DATA_DIR`.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

REQUESTS = 60
PAGE_BUDGET_MS, API_BUDGET_MS = 100, 60


def free_port() -> int:
    """Return an unused loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
        return body


@contextmanager
def server() -> Iterator[str]:
    """Start a server and yield its base URL when it is ready."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "serve", "--port", str(port)],
        env={**os.environ, "QUANTA_HOST": "127.0.0.1"},
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                _get(f"{base}/readyz")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait(10)


def _targets(base: str) -> tuple[list[str], list[str]]:
    """Return (paths of pages and figures, paths of API routes) with ids of the store."""
    api = f"{base}/api/v1"
    corpus = json.loads(_get(f"{api}/corpora"))["corpora"][0]["id"]
    suite = json.loads(_get(f"{api}/suites"))["suites"][0]["id"]
    clusterings = json.loads(_get(f"{api}/clusterings"))["clusterings"]
    largest = max(clusterings, key=lambda row: row["n_clusters"])["id"]
    middle = min(clusterings, key=lambda row: abs(row["n_clusters"] - 100))["id"]
    listed = json.loads(_get(f"{api}/clusterings/{middle}/clusters"))["clusters"]
    largest_cluster, smallest_cluster = listed[0]["id"], listed[-1]["id"]
    pages = _pages(corpus, middle, largest, largest_cluster, smallest_cluster)
    figures = _figures(suite, corpus, largest, largest_cluster)
    routes = _routes(suite, corpus, middle, largest, largest_cluster)
    return pages + figures, [f"/api/v1{route}" for route in routes]


def _pages(
    corpus: str, middle: int, largest: int, largest_cluster: int, smallest_cluster: int
) -> list[str]:
    """Return the pages."""
    return [
        "/",
        f"/clusterings/{middle}",
        f"/clusterings/{largest}?sort=coherence&descending=true",
        f"/clusters/{largest_cluster}",
        f"/clusters/{smallest_cluster}",
        f"/predictions/{corpus}/12345",
        f"/documents/{corpus}",
        f"/documents/{corpus}/7",
        "/scaling?axis=N",
        "/scaling?axis=S",
        "/glossary",
        "/api",
    ]


def _figures(suite: str, corpus: str, largest: int, largest_cluster: int) -> list[str]:
    """Return the figures that pages fetch."""
    return [
        f"/figures/clusterings/{largest}",
        f"/figures/clusters/{largest_cluster}",
        f"/figures/clusters/{largest_cluster}/similarity",
        f"/figures/predictions/{corpus}/12345",
        f"/figures/scaling?suite={suite}&corpus={corpus}&axis=N",
    ]


def _routes(suite: str, corpus: str, middle: int, largest: int, largest_cluster: int) -> list[str]:
    """Return the API routes."""
    corpus_path = f"/corpora/{corpus}"
    return [
        "/suites",
        f"/suites/{suite}",
        "/corpora",
        corpus_path,
        f"{corpus_path}/documents",
        f"{corpus_path}/documents/7",
        f"{corpus_path}/documents/7/heat?measure=loss",
        f"{corpus_path}/predictions/12345",
        f"{corpus_path}/losses?suite={suite}&limit=1000",
        f"/scaling?suite={suite}&corpus={corpus}&axis=N",
        "/predictions?preset=step&inv=level,scale,shift&limit=100",
        "/predictions?only_largest=2",
        "/predictions/map?format=arrow",
        "/selections",
        "/similarities/1",
        "/similarities/1?format=arrow",
        "/clusterings",
        f"/clusterings/{largest}",
        f"/clusterings/{largest}/clusters",
        f"/clusterings/{middle}/clusters?limit=200",
        f"/clusterings/{middle}/compare/{largest}",
        f"/clusters/{largest_cluster}",
        f"/clusters/{largest_cluster}/contexts",
        f"/clusters/{largest_cluster}/similarity",
    ]


def _latencies_ms(url: str) -> list[float]:
    _get(url)  # fills caches and compiles templates
    latencies = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        _get(url)
        latencies.append((time.perf_counter() - start) * 1e3)
    return sorted(latencies)


def main() -> None:
    """Print p50 and p95 of every path; exit with 1 if one is over budget."""
    over = 0
    with server() as base:
        pages, routes = _targets(base)
        for budget, targets in ((PAGE_BUDGET_MS, pages), (API_BUDGET_MS, routes)):
            print(f"budget {budget} ms, {REQUESTS} requests per path{'':12s}   p50    p95")
            for target in targets:
                latencies = _latencies_ms(base + target)
                p50, p95 = latencies[len(latencies) // 2], latencies[int(0.95 * len(latencies))]
                over += p95 > budget
                flag = "  OVER" if p95 > budget else ""
                print(f"  {target:54s} {p50:6.1f} {p95:6.1f} ms{flag}")
    print("all within budget" if not over else f"{over} over budget")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
