"""Random secrets that are shown once, stored as digests and compared in constant time.

A credential has the form `qx_SELECTOR_SECRET`. Rows are looked up by the public selector, so that
no database index compares secrets. The secret has 256 random bits, so a plain SHA-256 is enough.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

TOKEN_PREFIX = "qx"  # noqa: S105 - a prefix, not a secret
SESSION_PREFIX = "qs"
LINK_PREFIX = "ql"
MAX_SECRET_BYTES = 1024
_SECRET_BYTES = 32
_SELECTOR_BYTES = 6
_FORMAT = re.compile(rb"(?P<prefix>q[xsl])_(?P<selector>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# Compared with a secret when there is no row, so that both cases take the same time.
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Credential:
    """A new credential: `text` is shown or sent once, `selector` is stored."""

    selector: str
    text: str


def new_credential(prefix: str) -> Credential:
    """Return a fresh random credential."""
    selector = secrets.token_hex(_SELECTOR_BYTES)
    return Credential(selector, f"{prefix}_{selector}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def parse_selector(secret: bytes, prefix: str) -> str | None:
    """Return the selector of a credential, None if it has another form or prefix."""
    match = _FORMAT.fullmatch(secret) if len(secret) <= MAX_SECRET_BYTES else None
    if match is None or match["prefix"].decode() != prefix:
        return None
    return match["selector"].decode()


def digest(secret: bytes) -> str:
    """Return the SHA-256 of a secret, as it is stored."""
    return hashlib.sha256(secret).hexdigest()


def bound_digest(secret: bytes, key: bytes) -> str:
    """Return the HMAC-SHA-256 of a secret under its token's key."""
    return hmac.new(key, secret, hashlib.sha256).hexdigest()


def is_same_digest(computed: str, stored: str | None) -> bool:
    """Compare two digests in constant time; `stored` is None where there is no row."""
    is_equal = hmac.compare_digest(computed.encode(), (stored or _NO_DIGEST).encode())
    return is_equal and stored is not None


def is_expected_secret(secret: bytes, expected: str) -> bool:
    """Compare a secret with a configured one in constant time.

    Digests are compared, because comparing strings of different lengths reveals the length.
    """
    if not expected or len(secret) > max(MAX_SECRET_BYTES, len(expected.encode())):
        return False
    return is_same_digest(digest(secret), digest(expected.encode()))
