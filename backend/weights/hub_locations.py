"""Locations on a hub: repository and commit, files with their hashes, endpoints."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants

from backend.errors import InvalidInputError

_LOCATION = re.compile(
    r"hub:(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})(?: from (?P<endpoint>\S+))?"
)


@dataclass(frozen=True)
class HubLocation:
    """A repository at a commit; the endpoint is None for the default one."""

    repository: str
    commit: str
    endpoint: str | None = None

    def __str__(self) -> str:
        """Return the stored form."""
        source = f" from {self.endpoint}" if self.endpoint else ""
        return f"hub:{self.repository}@{self.commit}{source}"

    @property
    def short(self) -> str:
        """Short form for messages."""
        return f"{self.repository}@{self.commit[:12]}"


def parse_location(text: str) -> HubLocation | None:
    """Return the hub location of a checkpoint's location, None for a folder."""
    match = _LOCATION.fullmatch(text)
    return HubLocation(**match.groupdict()) if match else None


@dataclass(frozen=True)
class HubFile:
    """A file at a commit; a large one (LFS) has the `sha256` of its bytes, others a `git_oid`."""

    name: str
    size: int
    sha256: str | None
    git_oid: str | None

    def hasher(self) -> Any:
        """Return a hash object for the file's bytes."""
        if self.sha256:
            return hashlib.sha256()
        blob = hashlib.sha1(usedforsecurity=False)  # git's blob hash; large files have sha256
        blob.update(f"blob {self.size}\0".encode())
        return blob

    @property
    def digest(self) -> str | None:
        """Expected hash."""
        return self.sha256 or self.git_oid


def validate_endpoint(endpoint: str | None) -> str | None:
    """Return the endpoint, None if it is the default one (HF_ENDPOINT).

    Raises:
        InvalidInputError: it is not an http(s) URL, or contains a password.
    """
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise InvalidInputError(
            f"the endpoint is {parts.scheme}://{parts.hostname or ''}",
            "Give an address such as https://huggingface.co, without user or password",
            "endpoint",
        )
    trimmed = endpoint.rstrip("/")
    return None if trimmed == constants.ENDPOINT else trimmed
