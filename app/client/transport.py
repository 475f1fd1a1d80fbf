"""Requests: addresses, the token, repeats of what may be repeated, and problems as exceptions."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from typing import Any

import httpx2

from app.client.errors import (
    PROBLEM_JSON,
    ServerUnreachableError,
    UnexpectedAnswerError,
    problem_error,
)

URL = "http://127.0.0.1:8000"
API = "/api/v1"
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 30.0
CONNECT_SECONDS = 10.0


def _program() -> str:
    try:
        return f"quanta-explorer-client/{version('quanta-explorer')}"
    except PackageNotFoundError:  # a checkout in PYTHONPATH
        return "quanta-explorer-client"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Transport:
    """One server, over connections that are kept."""

    def __init__(self, url: str | None, token: str | None, timeout: float, retries: int) -> None:
        """Remember the server; nothing is asked of it yet.

        Args:
            url: address, from QUANTA_URL if None.
            token: sent as bearer, from QUANTA_TOKEN if None; an empty one is not sent.
            timeout: longest wait for a part of an answer, seconds.
            retries: how often a read is tried again.

        Raises:
            ValueError: an address that is none, or a negative number.
        """
        address = httpx2.URL(url or os.environ.get("QUANTA_URL") or URL)
        if address.scheme not in {"http", "https"} or not address.host:
            raise ValueError(f"url {str(address)!r} is no address, want http://HOST:PORT")
        if timeout <= 0 or retries < 0:
            raise ValueError(f"timeout {timeout:g} must be above 0, retries {retries} not below")
        self.url = str(address).rstrip("/")
        self.timeout = timeout
        self.retries = retries
        token = os.environ.get("QUANTA_TOKEN", "") if token is None else token
        # `none` is what a program says that no page of another site can say in its name.
        headers = {"User-Agent": _program(), "Sec-Fetch-Site": "none"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            # A proxy of the environment cannot reach this machine's own server.
            trust_env=not _is_loopback(address.host),
        )

    def close(self) -> None:
        """End all connections."""
        self._http.close()

    def read(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        accept: str = "application/json",
    ) -> httpx2.Response:
        """GET a path below the server's address; what is None in the query is left out."""
        return self._repeated("GET", path, query, {"Accept": accept}, None, is_repeatable=True)

    def send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        is_repeatable: bool = False,
    ) -> httpx2.Response:
        """Send JSON; after a broken connection again only if that cannot do it twice."""
        return self._repeated(method, path, None, headers, body, is_repeatable=is_repeatable)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        accept: str,
        read_seconds: float | None = None,
    ) -> Iterator[httpx2.Response]:
        """GET a path whose answer is read while it comes, once; at most `read_seconds` apart."""
        seconds = self.timeout if read_seconds is None else read_seconds
        timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        try:
            with self._http.stream(
                "GET",
                self.url + path,
                params=_given(query),
                headers={"Accept": accept},
                timeout=timeout,
            ) as response:
                if not response.is_success:
                    response.read()
                    self._check(response)
                yield response
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error

    def _repeated(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        body: Any,
        *,
        is_repeatable: bool,
    ) -> httpx2.Response:
        left = self.retries
        while True:
            wait = min(FIRST_WAIT_SECONDS * 2 ** (self.retries - left), LONGEST_WAIT_SECONDS)
            try:
                response = self._http.request(
                    method, self.url + path, params=_given(query), headers=headers, json=body
                )
            except httpx2.RequestError as error:
                # Where no connection was made, nothing was asked.
                is_unasked = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if left == 0 or not (is_repeatable or is_unasked):
                    raise self._unreachable(error) from error
            else:
                asked = _retry_after(response)
                if left == 0 or asked is None or not is_repeatable:
                    return self._check(response)
                wait = asked
            left -= 1
            time.sleep(wait)

    def _check(self, response: httpx2.Response) -> httpx2.Response:
        """Return a response that is a success.

        Raises:
            ProblemError: it is a refusal.
            UnexpectedAnswerError: it leads elsewhere.
        """
        if response.is_success:
            return response
        if response.is_redirect:
            # Following it could show the token to another server.
            raise UnexpectedAnswerError(
                f"{self.url} leads to {response.headers.get('location')}: give that as url"
            )
        kind = response.headers.get("content-type", "").partition(";")[0]
        try:
            document = json.loads(response.content) if kind == PROBLEM_JSON else None
        except ValueError:
            document = None
        raise problem_error(
            response.status_code,
            response.request.url.path,
            response.headers.get("x-request-id", ""),
            document,
        )

    def _unreachable(self, error: httpx2.RequestError) -> ServerUnreachableError:
        words = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, httpx2.TimeoutException):
            words = f"no answer in time ({type(error).__name__}); give the client a longer timeout"
        return ServerUnreachableError(
            f"{self.url} does not answer: {words}. Is `quanta serve` running there?"
        )


def document_of(response: httpx2.Response) -> Any:
    """Return the JSON of an answer.

    Raises:
        UnexpectedAnswerError: it is none.
    """
    try:
        return json.loads(response.content)
    except ValueError as error:
        raise UnexpectedAnswerError(f"the answer of {response.request.url} is no JSON") from error


def _given(query: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if query is None else {k: v for k, v in query.items() if v is not None}


def _retry_after(response: httpx2.Response) -> float | None:
    """Return after how many seconds a 503 asks for the request again, None if it does not."""
    seconds = response.headers.get("retry-after", "")
    if response.status_code != 503 or not seconds.isdecimal():
        return None
    return float(seconds) if int(seconds[:9]) <= LONGEST_WAIT_SECONDS else None
