"""A proxy before a real server that loses, cuts and refuses connections as it is told."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from urllib.parse import SplitResult, urlsplit

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
# What to do with a request: hand it on, drop the connection before an answer, say that the server
# is busy, or cut the answer after so many bytes.
Fault = str | int
PASS, DROP, REFUSE = "pass", "drop", "refuse"


@dataclass
class Proxy:
    """A running proxy; `requests` are the first lines of what came, in order."""

    url: str
    decide: Callable[[str, int], Fault]
    requests: list[str] = field(default_factory=list)

    def n_asked(self, part: str) -> int:
        """How many requests had `part` in their first line."""
        return sum(part in line for line in self.requests)


@contextmanager
def faulty(server_url: str, decide: Callable[[str, int], Fault]) -> Iterator[Proxy]:
    """Run a proxy while the block runs; every request has a connection of its own.

    Args:
        server_url: address of the server behind it.
        decide: what to do with a request, from its first line and the number of equal ones so far.
    """
    target = urlsplit(server_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}", decide)

        def accept() -> None:
            with suppress(OSError):  # the listener was closed
                while True:
                    client, _ = listener.accept()
                    Thread(target=_answer, args=(proxy, client, target), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def _answer(proxy: Proxy, client: socket.socket, target: SplitResult) -> None:
    with client, suppress(OSError):
        request = _request(client)
        first = request.partition(b"\r\n")[0].decode()
        fault = proxy.decide(first, proxy.requests.count(first))
        proxy.requests.append(first)
        if fault == REFUSE:
            client.sendall(BUSY)
        if fault in {DROP, REFUSE}:
            return
        left = fault if isinstance(fault, int) else None
        with socket.create_connection((target.hostname, target.port)) as server:
            server.sendall(request)
            while piece := server.recv(65_536):
                client.sendall(piece if left is None else piece[:left])
                if left is not None:
                    left -= len(piece)
                    if left <= 0:
                        return


def _request(client: socket.socket) -> bytes:
    """One request, with `Connection: close` so that its answer ends its connection."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += client.recv(65_536)
    head, _, body = read.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    sizes = [int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")]
    while len(body) < sum(sizes):
        body += client.recv(65_536)
    return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body
