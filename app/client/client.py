"""The client: all calls of the HTTP API, with typed results."""

from types import TracebackType
from typing import Any, Self

from app.client.calls import Query
from app.client.corpora import CorporaCalls
from app.client.experiments import ExperimentCalls
from app.client.jobs import JobCalls
from app.client.parity import ParityCalls
from app.client.quanta import QuantaCalls
from app.client.search import SearchCalls
from app.client.theory import TheoryCalls
from app.client.transport import Transport, document_of
from app.client.types import Health, Readiness


class Client(
    CorporaCalls, SearchCalls, QuantaCalls, ExperimentCalls, TheoryCalls, ParityCalls, JobCalls
):
    """One server of Quanta Explorer.

    Results are frozen dataclasses, lists load their pages while they are iterated, arrays are
    `pyarrow.Table`. Losses and entropies are in nats, ranks start at 1, None is a number that is
    not finite or not defined. An error response raises a `ProblemError` with a remedy. The client
    is thread-safe, and closes its connections at the end of a `with` block.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        """Configure the client; no request is sent.

        Args:
            url: base URL of the server; default QUANTA_URL, else http://127.0.0.1:8000.
            token: token from `quanta token create`; default QUANTA_TOKEN, else none.
            timeout: longest wait for a part of a response, seconds.
            retries: maximum number of retries of a read, after a broken connection or a 503 with
                Retry-After.

        Raises:
            ValueError: the URL is invalid, or a number is out of range.
        """
        self._transport = Transport(url, token, timeout, retries)

    def __repr__(self) -> str:
        return f"<Client of {self._transport.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return the JSON of any GET route; `/api` of the server lists them.

        Args:
            path: absolute path, such as "/api/v1/suites".
            query: query parameters; those that are None are left out.
        """
        return self._json(_rooted(path), query)

    def send(self, method: str, path: str, body: Any) -> Any:
        """Send JSON to any route and return the JSON of its response."""
        return document_of(self._transport.send(method, _rooted(path), body))

    def health(self) -> Health:
        """Return the liveness and version of the server."""
        return self._get(Health, "/healthz")

    def readiness(self) -> Readiness:
        """Return the readiness of the server's database.

        Raises:
            UnavailableError: the database does not answer or is not up to date.
        """
        return self._get(Readiness, "/readyz")

    def metrics(self) -> str:
        """Return the server's metrics in the Prometheus text format."""
        return self._transport.read("/metrics", accept="text/plain").text


def _rooted(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"path {path!r} must start with /, such as /api/v1/suites")
    return path
