"""The client: every call of the HTTP API, with typed results."""

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

    Results are frozen dataclasses, lists follow their pages while they are iterated, arrays are
    `pyarrow.Table`. Losses and entropies are nats, ranks start at 1, None stands for a number that
    is not finite or not defined. Every refusal is a `ProblemError` that says what to do next. It
    may be shared by threads, and closes its connections at the end of a `with` block.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 4,
    ) -> None:
        """Remember the server; nothing is asked of it yet.

        Args:
            url: its address; default: QUANTA_URL, else http://127.0.0.1:8000.
            token: of `quanta token create`; default: QUANTA_TOKEN, else none.
            timeout: longest wait for a part of an answer, seconds.
            retries: how often a read is tried again, after a broken connection or when the server
                asks for it (503 with Retry-After).

        Raises:
            ValueError: the url is no address, or a number is negative.
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
        """End all connections."""
        self._transport.close()

    def get(self, path: str, query: Query | None = None) -> Any:
        """Return the JSON of any GET route, as it is: what `/api` of the server lists.

        Args:
            path: from the root, as "/api/v1/suites".
            query: parameters; None stands for one that is left out.
        """
        return self._json(_rooted(path), query)

    def send(self, method: str, path: str, body: Any) -> Any:
        """Send JSON to any route and return the JSON of its answer."""
        return document_of(self._transport.send(method, _rooted(path), body))

    def health(self) -> Health:
        """Return whether the server answers, and its version."""
        return self._get(Health, "/healthz")

    def readiness(self) -> Readiness:
        """Return whether the server's database answers and is up to date.

        Raises:
            UnavailableError: it does not, or is not.
        """
        return self._get(Readiness, "/readyz")

    def metrics(self) -> str:
        """Return the server's metrics, in the text format of Prometheus."""
        return self._transport.read("/metrics", accept="text/plain").text


def _rooted(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"path {path!r} must begin with /, as /api/v1/suites")
    return path
