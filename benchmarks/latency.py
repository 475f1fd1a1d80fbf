"""Server latency: every page and every GET route of the API, one client, p50 and p95.

Budget: pages 100 ms, API routes 60 ms. Runs a real server over the store of `QUANTA_DATA_DIR`.
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
    """Return a port of the loopback that nobody uses now."""
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
    """Yield the base URL of a server that is ready."""
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
    """Return (pages and the figures they fetch, API routes) over several real ids."""
    api = f"{base}/api/v1"
    corpus = json.loads(_get(f"{api}/corpora"))["corpora"][0]["id"]
    suite = json.loads(_get(f"{api}/suites"))["suites"][0]["id"]
    clusterings = json.loads(_get(f"{api}/clusterings"))["clusterings"]
    largest = max(clusterings, key=lambda row: row["n_clusters"])["id"]
    middle = min(clusterings, key=lambda row: abs(row["n_clusters"] - 100))["id"]
    listed = json.loads(_get(f"{api}/clusterings/{middle}/clusters"))["clusters"]
    biggest, small = listed[0]["id"], listed[-1]["id"]
    pages = _pages(corpus, middle, largest, biggest, small)
    figures = _figures(suite, corpus, largest, biggest)
    routes = _routes(suite, corpus, middle, largest, biggest)
    return pages + figures, [f"/api/v1{route}" for route in routes]


def _pages(corpus: str, middle: int, largest: int, biggest: int, small: int) -> list[str]:
    """Return the pages."""
    return [
        "/",
        f"/clusterings/{middle}",
        f"/clusterings/{largest}?sort=coherence&descending=true",
        f"/clusters/{biggest}",
        f"/clusters/{small}",
        f"/predictions/{corpus}/12345",
        f"/documents/{corpus}",
        f"/documents/{corpus}/7",
        "/scaling?axis=N",
        "/scaling?axis=S",
        "/glossary",
        "/api",
    ]


def _figures(suite: str, corpus: str, largest: int, biggest: int) -> list[str]:
    """Return what pages fetch to draw."""
    return [
        f"/figures/clusterings/{largest}",
        f"/figures/clusters/{biggest}",
        f"/figures/clusters/{biggest}/similarity",
        f"/figures/predictions/{corpus}/12345",
        f"/figures/scaling?suite={suite}&corpus={corpus}&axis=N",
    ]


def _routes(suite: str, corpus: str, middle: int, largest: int, biggest: int) -> list[str]:
    """Return the API routes."""
    home = f"/corpora/{corpus}"
    return [
        "/suites",
        f"/suites/{suite}",
        "/corpora",
        home,
        f"{home}/documents",
        f"{home}/documents/7",
        f"{home}/documents/7/heat?measure=loss",
        f"{home}/predictions/12345",
        f"{home}/losses?suite={suite}&limit=1000",
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
        f"/clusters/{biggest}",
        f"/clusters/{biggest}/contexts",
        f"/clusters/{biggest}/similarity",
    ]


def _latencies_ms(url: str) -> list[float]:
    _get(url)  # maps caches and compiles templates, as after a start
    taken = []
    for _ in range(REQUESTS):
        start = time.perf_counter()
        _get(url)
        taken.append((time.perf_counter() - start) * 1e3)
    return sorted(taken)


def main() -> None:
    """Print p50 and p95 of every target and exit 1 if one is over its budget."""
    over = 0
    with server() as base:
        pages, routes = _targets(base)
        for budget, targets in ((PAGE_BUDGET_MS, pages), (API_BUDGET_MS, routes)):
            print(f"budget {budget} ms, {REQUESTS} requests each{'':12s}   p50    p95")
            for target in targets:
                taken = _latencies_ms(base + target)
                p50, p95 = taken[len(taken) // 2], taken[int(0.95 * len(taken))]
                over += p95 > budget
                flag = "  OVER" if p95 > budget else ""
                print(f"  {target:54s} {p50:6.1f} {p95:6.1f} ms{flag}")
    print("all within budget" if not over else f"{over} over budget")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
