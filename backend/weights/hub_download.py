"""Download from the Hugging Face hub: branches and files of a repository at a commit.

`huggingface_hub` provides the URL, the token, the HTTP session and the errors. Its own download
restarts after an interruption; weights are gigabytes, so here a file is resumed, and renamed only
after its size and hash are verified.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    parse_ratelimit_headers,
)

from backend.errors import NotFoundError, QuantaError
from backend.store.tables.base import now
from backend.weights.hub_locations import HubFile, HubLocation

T = TypeVar("T")
TRANSIENT = {408, 429, 500, 502, 503, 504}
TIMEOUT_SECONDS = 30.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class RetryPolicy:
    """Retries of failed requests, with exponential backoff.

    Attributes:
        tries: consecutive requests without progress.
        first_wait: seconds before the first retry; doubled each time.
        longest_wait: seconds; a longer Retry-After is an error.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 900.0


class StoppedError(Exception):
    """A background download was stopped."""


# Exceptions of a request to a hub.
_HubError = OfflineModeIsEnabled | HfHubHTTPError | httpx2.TransportError


def _status(error: _HubError) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _is_transient(error: _HubError) -> bool:
    return isinstance(error, httpx2.TransportError) or _status(error) in TRANSIENT


def _retry_after(error: _HubError) -> float | None:
    """Return the seconds that the hub asks to wait, None without Retry-After."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers)
    if _status(error) == httpx2.codes.TOO_MANY_REQUESTS and limit and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now()).total_seconds())
    except (TypeError, ValueError):
        return None


def _to_quanta_error(error: _HubError, what: str, endpoint: str) -> QuantaError:
    """Return a permanent error with a remedy."""
    if isinstance(error, OfflineModeIsEnabled):
        return QuantaError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE is set",
            "Unset HF_HUB_OFFLINE to fetch it",
        )
    if isinstance(error, httpx2.TransportError):
        return QuantaError(
            f"{what}: {endpoint} cannot be reached ({type(error).__name__})",
            "Check the network, or set HF_ENDPOINT or --endpoint to a hub that can be reached; "
            "run the command again to continue",
        )
    if isinstance(error, RevisionNotFoundError):
        return NotFoundError(
            f"{what}: {endpoint} has no such revision",
            "It was removed or rewritten; run `quanta suite add` again to list revisions",
        )
    status = error.response.status_code
    is_absent = isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
    if is_absent or status == httpx2.codes.NOT_FOUND:
        return NotFoundError(
            f"{what}: {endpoint} does not have it", "Check the name, and --endpoint or HF_ENDPOINT"
        )
    if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
        return QuantaError(
            f"{what}: {endpoint} refuses access ({status})",
            "Log in with `hf auth login`, or set HF_TOKEN to a token that may read it",
        )
    return QuantaError(
        f"{what}: {endpoint} answers {status}", "Run the command again later; finished work is kept"
    )


@dataclass
class Hub:
    """Client of a hub endpoint (None: HF_ENDPOINT or huggingface.co).

    `say` receives a message before each wait; `stop` stops a background download.
    """

    endpoint: str | None = None
    retry: RetryPolicy = RetryPolicy()
    say: Callable[[str], None] = lambda text: None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """URL of the endpoint."""
        return self.endpoint or constants.ENDPOINT

    @property
    def _token(self) -> bool | None:
        # The user's token is for the default hub; never send it to another endpoint.
        return False if self.endpoint else None

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > 1:
            self.say(f"{why}; retrying in {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise StoppedError

    def _retry(
        self, what: str, call: Callable[[], T], progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Return `call()`, retried while the hub fails temporarily."""
        failures, n_bytes = 0, progress()
        while True:
            try:
                return call()
            except (OfflineModeIsEnabled, HfHubHTTPError, httpx2.TransportError) as error:
                last_error: _HubError = error
            failures = 1 if progress() > n_bytes else failures + 1
            n_bytes = max(n_bytes, progress())
            retry_after = _retry_after(last_error)
            backoff = self.retry.first_wait * 2 ** (failures - 1)
            wait = backoff if retry_after is None else retry_after
            is_exhausted = failures >= self.retry.tries or wait > self.retry.longest_wait
            if is_exhausted or not _is_transient(last_error):
                raise _to_quanta_error(last_error, what, self.address) from last_error
            self._wait(wait, f"{what}: {_status(last_error) or 'the connection failed'}")

    def branches(self, repository: str) -> dict[str, str]:
        """Return {branch: commit} of a repository, in one request.

        Raises:
            NotFoundError: the hub has no such repository.
            QuantaError: the hub cannot be reached or refuses access.
        """

        def request() -> dict[str, str]:
            response = get_session().get(
                f"{self.address}/api/models/{repository}/refs",
                headers=build_hf_headers(token=self._token),
                timeout=TIMEOUT_SECONDS,
            )
            hf_raise_for_status(response)
            return _branches_of(response, repository)

        return self._retry(repository, request)

    def files(self, location: HubLocation) -> dict[str, HubFile]:
        """Return the files of a repository at a commit, with sizes and hashes, in one request.

        Raises:
            NotFoundError: the repository or commit does not exist.
            QuantaError: the hub cannot be reached or refuses access.
        """
        api = HfApi(endpoint=self.address, token=self._token)

        def request() -> dict[str, HubFile]:
            info = api.model_info(
                location.repository,
                revision=location.commit,
                files_metadata=True,
                timeout=TIMEOUT_SECONDS,
            )
            return {
                s.rfilename: HubFile(
                    s.rfilename, s.size, s.lfs.sha256 if s.lfs else None, s.blob_id
                )
                for s in info.siblings or []
                if s.size is not None
            }

        return self._retry(location.short, request)

    def download(
        self,
        location: HubLocation,
        file: HubFile,
        folder: Path,
        on_progress: Callable[[int], None] = lambda n_bytes: None,
    ) -> None:
        """Download a file into an existing folder, resuming `NAME.part`, and verify its hash.

        `on_progress` receives the number of downloaded bytes.

        Raises:
            NotFoundError: the hub does not have the file.
            QuantaError: the hub fails, sends other bytes than it announced, or the disk is full.
        """
        path, part = folder / file.name, folder / f"{file.name}.part"
        what = f"{file.name} of {location.short}"
        for _ in range(2):  # a resumed part may be corrupt: retry once from the start
            is_resumed = part.exists()

            def receive() -> str | None:
                return self._receive(location, file, part, on_progress)

            def received() -> int:
                return part.stat().st_size if part.exists() else 0

            with _translate_full_disk(part):
                if self._retry(what, receive, received) == file.digest:
                    os.replace(part, path)
                    return
            part.unlink(missing_ok=True)
            if not is_resumed:
                break
        raise QuantaError(
            f"{what}: the bytes received have another hash than {self.address} announces",
            "Run the command again; if it fails again, the hub's copy is damaged: use another "
            "endpoint. The file was deleted",
        )

    def _receive(
        self, location: HubLocation, file: HubFile, part: Path, on_progress: Callable[[int], None]
    ) -> str | None:
        """Complete `part`; return its hash, None if it is larger than announced."""
        hasher = file.hasher()
        n_bytes = _feed(part, hasher)
        if part.exists() and n_bytes >= file.size:
            return str(hasher.hexdigest()) if n_bytes == file.size else None
        self._check_stop()
        url = hf_hub_url(
            location.repository, file.name, revision=location.commit, endpoint=self.address
        )
        headers = build_hf_headers(token=self._token) | {"Accept-Encoding": "identity"}
        if n_bytes:
            headers["Range"] = f"bytes={n_bytes}-"
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
            hf_raise_for_status(response)
            is_resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
            if not is_resumed:  # a server without ranges sends the whole file again
                hasher, n_bytes = file.hasher(), 0
            with part.open("ab" if is_resumed else "wb") as target:
                for block in response.iter_bytes():
                    n_bytes += len(block)
                    if n_bytes > file.size:
                        return None
                    target.write(block)
                    hasher.update(block)
                    on_progress(n_bytes)
                    self._check_stop()
        if n_bytes < file.size:
            raise httpx2.RemoteProtocolError(f"{n_bytes} of {file.size} bytes received")
        return str(hasher.hexdigest())


def _branches_of(response: httpx2.Response, repository: str) -> dict[str, str]:
    try:
        listed = response.json()["branches"]
        return {str(b["name"]): str(b["targetCommit"]) for b in listed}
    except (ValueError, KeyError, TypeError) as error:
        raise QuantaError(
            f"{repository}: the answer of {response.url.host} is not a hub's list of branches",
            "Set HF_ENDPOINT or --endpoint to a Hugging Face hub",
        ) from error


def _feed(part: Path, hasher: Any) -> int:
    """Hash the bytes of an earlier download; return their number."""
    if not part.is_file():
        return 0
    n_bytes = 0
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
            n_bytes += len(block)
    return n_bytes


@contextmanager
def _translate_full_disk(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        part.unlink(missing_ok=True)  # free the space, since it cannot be completed
        raise QuantaError(
            f"the disk of {part.parent} is full",
            "Make room, or set QUANTA_DATA_DIR to a larger disk, and run the command again",
        ) from error
