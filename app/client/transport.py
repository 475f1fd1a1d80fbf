"""HTTP requests: base URL, token, retries of safe requests, and problems as exceptions."""

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

DEFAULT_URL = "http://127.0.0.1:8000"
API = "/api/v1"
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 30.0
CONNECT_SECONDS = 10.0


def _user_agent() -> str:
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
    """One server, over persistent connections."""

    def __init__(self, url: str | None, token: str | None, timeout: float, retries: int) -> None:
        """Configure the connection; no request is sent.

        Args:
            url: base URL; QUANTA_URL if None.
            token: bearer token; QUANTA_TOKEN if None, not sent if empty.
            timeout: longest wait for a part of a response, seconds.
            retries: maximum number of retries of a read.

        Raises:
            ValueError: the URL is invalid, or a number is out of range.
        """
        address = httpx2.URL(url or os.environ.get("QUANTA_URL") or DEFAULT_URL)
        if address.scheme not in {"http", "https"} or not address.host:
            raise ValueError(f"invalid url {str(address)!r}; use http://HOST:PORT")
        if timeout <= 0 or retries < 0:
            raise ValueError(f"timeout must be > 0 and retries >= 0, not {timeout:g} and {retries}")
        self.url = str(address).rstrip("/")
        self.timeout = timeout
        self.retries = retries
        token = os.environ.get("QUANTA_TOKEN", "") if token is None else token
        # Pages of other sites cannot send `none`, so the server accepts it without a CSRF token.
        headers = {"User-Agent": _user_agent(), "Sec-Fetch-Site": "none"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            # A proxy of the environment cannot reach this machine's own server.
            trust_env=not _is_loopback(address.host),
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def read(
        self, path: str, query: Mapping[str, Any] | None = None, *, accept: str = "application/json"
    ) -> httpx2.Response:
        """GET a path below the base URL; parameters that are None are left out."""
        return self._request("GET", path, query, {"Accept": accept}, None, is_repeatable=True)

    def send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        is_repeatable: bool = False,
    ) -> httpx2.Response:
        """Send JSON; retry after a broken connection only if the request is repeatable."""
        return self._request(method, path, None, headers, body, is_repeatable=is_repeatable)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        accept: str,
        read_seconds: float | None = None,
    ) -> Iterator[httpx2.Response]:
        """GET a path as a stream, without retries; `read_seconds` is the longest silence."""
        seconds = self.timeout if read_seconds is None else read_seconds
        timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        try:
            with self._http.stream(
                "GET",
                self.url + path,
                params=_without_none(query),
                headers={"Accept": accept},
                timeout=timeout,
            ) as response:
                if not response.is_success:
                    response.read()
                    self._check(response)
                yield response
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        body: Any,
        *,
        is_repeatable: bool,
    ) -> httpx2.Response:
        for attempt in range(self.retries + 1):
            is_last = attempt == self.retries
            wait = min(FIRST_WAIT_SECONDS * 2**attempt, LONGEST_WAIT_SECONDS)
            try:
                response = self._http.request(
                    method, self.url + path, params=_without_none(query), headers=headers, json=body
                )
            except httpx2.RequestError as error:
                # Without a connection the server did not receive the request.
                is_unsent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if is_last or not (is_repeatable or is_unsent):
                    raise self._unreachable(error) from error
            else:
                retry_after = _retry_after(response)
                if is_last or retry_after is None or not is_repeatable:
                    return self._check(response)
                wait = retry_after
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _check(self, response: httpx2.Response) -> httpx2.Response:
        """Return a successful response.

        Raises:
            ProblemError: the server refused the request.
            UnexpectedAnswerError: the response is a redirect.
        """
        if response.is_success:
            return response
        if response.is_redirect:
            # Following the redirect could send the token to another server.
            raise UnexpectedAnswerError(
                f"{self.url} redirects to {response.headers.get('location')}: use that as url"
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
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, httpx2.TimeoutException):
            reason = f"timeout ({type(error).__name__}); set a longer timeout"
        return ServerUnreachableError(
            f"{self.url} does not answer: {reason}. Is `quanta serve` running there?"
        )


def document_of(response: httpx2.Response) -> Any:
    """Return the JSON of a response.

    Raises:
        UnexpectedAnswerError: the response is not JSON.
    """
    try:
        return json.loads(response.content)
    except ValueError as error:
        raise UnexpectedAnswerError(
            f"the response of {response.request.url} is not JSON"
        ) from error


def _without_none(query: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if query is None else {k: v for k, v in query.items() if v is not None}


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the Retry-After of a 503 in seconds, None without one or if it is too long."""
    seconds = response.headers.get("retry-after", "")
    if response.status_code != 503 or not seconds.isdecimal():
        return None
    return float(seconds) if int(seconds[:9]) <= LONGEST_WAIT_SECONDS else None
