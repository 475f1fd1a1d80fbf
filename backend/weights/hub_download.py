"""The Hugging Face hub: branches and files of a repository at a commit, fetched and verified.

`huggingface_hub` gives the address, the token, the HTTP session and the errors. Its own download
starts again after an interruption; weights are gigabytes, so here a file is resumed where it
stopped and takes its name only once its size and hash are what the hub says.
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
    """How long a failing hub is asked again.

    Attributes:
        tries: requests in a row without a byte of progress.
        first_wait: seconds before the second one; doubled each time.
        longest_wait: seconds; a hub that asks for more (Retry-After) is an error.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 900.0


class StoppedError(Exception):
    """A fetch in the background was told to stop."""


# What a request to a hub can fail with.
_Fault = OfflineModeIsEnabled | HfHubHTTPError | httpx2.TransportError


def _status(fault: _Fault) -> int | None:
    return fault.response.status_code if isinstance(fault, HfHubHTTPError) else None


def _is_transient(fault: _Fault) -> bool:
    return isinstance(fault, httpx2.TransportError) or _status(fault) in TRANSIENT


def _seconds_asked(fault: _Fault) -> float | None:
    """Return how long the hub asks to wait, None if it does not say."""
    if not isinstance(fault, HfHubHTTPError):
        return None
    headers = fault.response.headers
    limit = parse_ratelimit_headers(headers)
    if _status(fault) == httpx2.codes.TOO_MANY_REQUESTS and limit and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now()).total_seconds())
    except (TypeError, ValueError):
        return None


def _explained(fault: _Fault, what: str, endpoint: str) -> QuantaError:
    """Return what a person is told about a fault that stays."""
    if isinstance(fault, OfflineModeIsEnabled):
        return QuantaError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE is set",
            "Unset HF_HUB_OFFLINE to fetch it",
        )
    if isinstance(fault, httpx2.TransportError):
        return QuantaError(
            f"{what}: {endpoint} cannot be reached ({type(fault).__name__})",
            "Check the network, or set HF_ENDPOINT or --endpoint to a hub that can be reached; "
            "run the command again to continue",
        )
    if isinstance(fault, RevisionNotFoundError):
        return NotFoundError(
            f"{what}: {endpoint} has no such revision",
            "It was removed or rewritten; run `quanta suite add` again to see what there is",
        )
    status = fault.response.status_code
    is_absent = isinstance(fault, RepositoryNotFoundError) and not isinstance(fault, GatedRepoError)
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
        f"{what}: {endpoint} answers {status}",
        "Run the command again later; what is finished is kept",
    )


@dataclass
class Hub:
    """One hub endpoint.

    Attributes:
        endpoint: its address, None for HF_ENDPOINT or huggingface.co.
        patience: how long it is asked again.
        say: told when the hub asks to wait.
        stop: ends a fetch in the background.
    """

    endpoint: str | None = None
    patience: RetryPolicy = RetryPolicy()
    say: Callable[[str], None] = lambda text: None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """The endpoint in use."""
        return self.endpoint or constants.ENDPOINT

    @property
    def _token(self) -> bool | None:
        # The person's token belongs to the hub of the environment, not to any other address.
        return False if self.endpoint else None

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > 1:
            self.say(f"{why}; asking again in {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise StoppedError

    def _patiently(
        self, what: str, call: Callable[[], T], progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Return what `call` returns, asking again while the hub fails for the moment."""
        failures, reached = 0, progress()
        while True:
            try:
                return call()
            except (OfflineModeIsEnabled, HfHubHTTPError, httpx2.TransportError) as error:
                fault: _Fault = error
            failures = 1 if progress() > reached else failures + 1
            reached = max(reached, progress())
            asked = _seconds_asked(fault)
            wait = self.patience.first_wait * 2 ** (failures - 1) if asked is None else asked
            is_over = failures >= self.patience.tries or wait > self.patience.longest_wait
            if is_over or not _is_transient(fault):
                raise _explained(fault, what, self.address) from fault
            self._wait(wait, f"{what}: {_status(fault) or 'the connection failed'}")

    def branches(self, repository: str) -> dict[str, str]:
        """Return {branch: commit} of a repository, one request.

        Raises:
            NotFoundError: the hub has no such repository.
            QuantaError: it cannot be reached or refuses.
        """

        def ask() -> dict[str, str]:
            response = get_session().get(
                f"{self.address}/api/models/{repository}/refs",
                headers=build_hf_headers(token=self._token),
                timeout=TIMEOUT_SECONDS,
            )
            hf_raise_for_status(response)
            return _branches_of(response, repository)

        return self._patiently(repository, ask)

    def files(self, location: HubLocation) -> dict[str, HubFile]:
        """Return the files of a repository at a commit, with sizes and hashes, one request.

        Raises:
            NotFoundError: the repository or commit is not there.
            QuantaError: the hub cannot be reached, refuses, or says no hashes.
        """
        api = HfApi(endpoint=self.address, token=self._token)

        def ask() -> dict[str, HubFile]:
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

        return self._patiently(location.short, ask)

    def download(
        self,
        location: HubLocation,
        file: HubFile,
        folder: Path,
        reached: Callable[[int], None] = lambda held: None,
    ) -> None:
        """Put a file into `folder`, resuming `NAME.part`; it takes its name once it is verified.

        Args:
            location: its repository and commit.
            file: its name, size and hash.
            folder: must exist.
            reached: told how many bytes of the file are there.

        Raises:
            NotFoundError: the hub does not have the file.
            QuantaError: the hub fails, sends other bytes than it announced, or the disk is full.
        """
        path, part = folder / file.name, folder / f"{file.name}.part"
        what = f"{file.name} of {location.short}"
        for _ in range(2):  # what was resumed may be at fault: once more from the start
            was_begun = part.exists()

            def receive() -> str | None:
                return self._receive(location, file, part, reached)

            def received() -> int:
                return part.stat().st_size if part.exists() else 0

            with _full_disk_named(part):
                if self._patiently(what, receive, received) == file.digest:
                    os.replace(part, path)
                    return
            part.unlink(missing_ok=True)
            if not was_begun:
                break
        raise QuantaError(
            f"{what}: the bytes received have another hash than {self.address} announces",
            "Run the command again; if it stays so, the hub's copy is damaged: use another "
            "endpoint. Nothing was kept",
        )

    def _receive(
        self, location: HubLocation, file: HubFile, part: Path, reached: Callable[[int], None]
    ) -> str | None:
        """Complete `part`; return its hash, None if more came than was announced."""
        hasher = file.hasher()
        held = _feed(part, hasher)
        if part.exists() and held >= file.size:
            return str(hasher.hexdigest()) if held == file.size else None
        self._check_stop()
        url = hf_hub_url(
            location.repository, file.name, revision=location.commit, endpoint=self.address
        )
        headers = build_hf_headers(token=self._token) | {"Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
            hf_raise_for_status(response)
            is_resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
            if not is_resumed:  # a server without ranges sends the whole file again
                hasher, held = file.hasher(), 0
            with part.open("ab" if is_resumed else "wb") as target:
                for block in response.iter_bytes():
                    held += len(block)
                    if held > file.size:
                        return None
                    target.write(block)
                    hasher.update(block)
                    reached(held)
                    self._check_stop()
        if held < file.size:
            raise httpx2.RemoteProtocolError(f"{held} of {file.size} bytes came")
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
    """Feed what was received before into `hasher`; return its number of bytes."""
    if not part.is_file():
        return 0
    held = 0
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
            held += len(block)
    return held


@contextmanager
def _full_disk_named(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        part.unlink(missing_ok=True)  # room for others; it cannot be completed here
        raise QuantaError(
            f"the disk of {part.parent} is full",
            "Make room, or set QUANTA_DATA_DIR to a larger disk, and run the command again",
        ) from error
