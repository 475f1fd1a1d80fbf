"""Load generator: keep-alive HTTP/1.1 clients on asyncio streams, in one process.

They share the machine with the server, so they do little: requests are encoded in advance, and of a
response only status and length are parsed; the compressed body is discarded. This takes about a
tenth of the time of a complete client.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

TIMEOUT_SECONDS = 30.0
_LIMIT = 1 << 20


@dataclass(frozen=True)
class Request:
    """A read request; results are grouped by `kind`, limits by `budget`."""

    kind: str
    budget: str
    path: str
    body: bytes = b""

    def encode(self, host: str) -> bytes:
        """Return the bytes that a browser (pages) or a program (bodies) sends."""
        method = "POST" if self.body else "GET"
        lines = [
            f"{method} {self.path} HTTP/1.1",
            f"Host: {host}",
            "Accept-Encoding: gzip",
            "Sec-Fetch-Site: none",
        ]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join((*lines, "", "")).encode() + self.body


@dataclass(frozen=True)
class Sample:
    """Result of a request; `status` is 0 without a response."""

    request: Request
    status: int
    milliseconds: float

    @property
    def is_error(self) -> bool:
        """Whether the response is not a 200."""
        return self.status != 200


class Client:
    """A connection that reconnects after an error."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def status(self, request: bytes) -> int:
        """Send an encoded request; return the response status, 0 without a response."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._status(request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            self.close()
            return 0

    async def _status(self, request: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_LIMIT)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"\r\ntransfer-encoding: chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        else:
            await reader.readexactly(int(head.split(b"\r\ncontent-length:", 1)[1].split(b"\r")[0]))
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@contextmanager
def _gc_disabled() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _one_per_second(
    client: Client, host: str, requests: Sequence[Request], phase: float, start: float
) -> list[Sample]:
    """Send a request at `phase`, `phase` + 1, … seconds; latency counts from the due time."""
    samples = []
    for i, request in enumerate(requests):
        encoded, due = request.encode(host), start + phase + i
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        status = await client.status(encoded)
        samples.append(Sample(request, status, 1e3 * (time.perf_counter() - due)))
    client.close()
    return samples


def open_loop(
    host: str, port: int, plans: Sequence[Sequence[Request]], on_tick: Callable[[], None]
) -> list[Sample]:
    """Send one request per second and client, each client at its own phase.

    Args:
        host: address of the server.
        port: port of the server.
        plans: requests of each client, in order.
        on_tick: called every half second.
    """
    name = f"{host}:{port}"

    async def run() -> list[Sample]:
        start = time.perf_counter() + 0.1
        tasks = [
            asyncio.create_task(
                _one_per_second(Client(host, port), name, plan, i / len(plans), start)
            )
            for i, plan in enumerate(plans)
        ]
        while not all(task.done() for task in tasks):
            on_tick()
            await asyncio.sleep(0.5)
        return [sample for task in tasks for sample in task.result()]

    with _gc_disabled():
        return asyncio.run(run())


async def _back_to_back(
    client: Client, host: str, requests: Sequence[Request], end: float
) -> list[int]:
    statuses = []
    for request in requests:
        if time.perf_counter() >= end:
            break
        statuses.append(await client.status(request.encode(host)))
    client.close()
    return statuses


@dataclass(frozen=True)
class Throughput:
    """Requests per second of clients that send the next request at once."""

    clients: int
    requests_per_second: float
    errors: int


def closed_loop(
    host: str, port: int, plans: Sequence[Sequence[Request]], seconds: float
) -> Throughput:
    """Return the throughput with one client per plan; a client stops at the end of its plan."""

    async def run() -> list[list[int]]:
        end = time.perf_counter() + seconds
        name = f"{host}:{port}"
        jobs = (_back_to_back(Client(host, port), name, plan, end) for plan in plans)
        return await asyncio.gather(*jobs)

    with _gc_disabled():
        start = time.perf_counter()
        statuses = [status for part in asyncio.run(run()) for status in part]
        elapsed = time.perf_counter() - start
    errors = sum(status != 200 for status in statuses)
    return Throughput(len(plans), len(statuses) / elapsed, errors)


def send_sequentially(
    host: str, port: int, requests: Sequence[Request]
) -> list[tuple[Request, int]]:
    """Return (request, status) of requests sent one after another."""

    async def run() -> list[tuple[Request, int]]:
        client, name = Client(host, port), f"{host}:{port}"
        results = [(request, await client.status(request.encode(name))) for request in requests]
        client.close()
        return results

    return asyncio.run(run())
