"""Load from one process: keep-alive HTTP/1.1 clients on asyncio streams.

They share the machine with the server, so they do little: a request is sent as bytes that were
made before, of an answer the status line and the length are read and the body is dropped as it
came, compressed. That takes about a tenth of the time of a client that parses everything.
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
class Read:
    """One request; `kind` is what it is counted under, `budget` whose limit holds for it."""

    kind: str
    budget: str
    path: str
    body: bytes = b""

    def sent(self, host: str) -> bytes:
        """Return the request as a browser (pages) or a program (bodies) sends it."""
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
    """What came of one read; `status` 0 stands for no answer."""

    read: Read
    status: int
    milliseconds: float

    @property
    def is_error(self) -> bool:
        """Whether it was not answered with what was asked for."""
        return self.status != 200


class Client:
    """One connection, opened again when it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def status(self, request: bytes) -> int:
        """Return the status of the answer to a request, 0 if there is none."""
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
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _every_second(
    client: Client, host: str, reads: Sequence[Read], first: float, started: float
) -> list[Sample]:
    """Send a read at each of `first`, `first` + 1 …; latency counts from then, sent or not."""
    samples = []
    for i, read in enumerate(reads):
        request, due = read.sent(host), started + first + i
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        status = await client.status(request)
        samples.append(Sample(read, status, 1e3 * (time.perf_counter() - due)))
    client.close()
    return samples


def open_loop(
    host: str, port: int, plans: Sequence[Sequence[Read]], meanwhile: Callable[[], None]
) -> list[Sample]:
    """Return what came of one read a second of each client, each at its own phase.

    Args:
        host: address of the server.
        port: its port.
        plans: the reads of each client, in order.
        meanwhile: called every half second.
    """
    name = f"{host}:{port}"

    async def run() -> list[Sample]:
        started = time.perf_counter() + 0.1
        tasks = [
            asyncio.create_task(
                _every_second(Client(host, port), name, plan, i / len(plans), started)
            )
            for i, plan in enumerate(plans)
        ]
        while not all(task.done() for task in tasks):
            meanwhile()
            await asyncio.sleep(0.5)
        return [sample for task in tasks for sample in task.result()]

    with _no_collection():
        return asyncio.run(run())


async def _without_pause(client: Client, host: str, reads: Sequence[Read], end: float) -> list[int]:
    statuses = []
    for read in reads:
        if time.perf_counter() >= end:
            break
        statuses.append(await client.status(read.sent(host)))
    client.close()
    return statuses


@dataclass(frozen=True)
class Throughput:
    """Answers a second to clients that send their next read as soon as one is answered."""

    clients: int
    reads_per_second: float
    errors: int


def closed_loop(
    host: str, port: int, plans: Sequence[Sequence[Read]], seconds: float
) -> Throughput:
    """Return the throughput of one client a plan; a plan that runs out ends its client."""

    async def run() -> list[list[int]]:
        end = time.perf_counter() + seconds
        name = f"{host}:{port}"
        jobs = (_without_pause(Client(host, port), name, plan, end) for plan in plans)
        return await asyncio.gather(*jobs)

    with _no_collection():
        began = time.perf_counter()
        statuses = [status for part in asyncio.run(run()) for status in part]
        took = time.perf_counter() - began
    errors = sum(status != 200 for status in statuses)
    return Throughput(len(plans), len(statuses) / took, errors)


def one_by_one(host: str, port: int, reads: Sequence[Read]) -> list[tuple[Read, int]]:
    """Return the status of one read after another."""

    async def run() -> list[tuple[Read, int]]:
        client = Client(host, port)
        found = [(read, await client.status(read.sent(f"{host}:{port}"))) for read in reads]
        client.close()
        return found

    return asyncio.run(run())
