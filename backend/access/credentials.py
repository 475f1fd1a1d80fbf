"""Random secrets that are shown once, stored as digests, and compared in constant time.

A credential reads `qx_SELECTOR_SECRET`. The selector is public: rows are found by it, so that no
database index ever compares a secret. The secret has 256 random bits; a plain SHA-256 is enough
for it, as there is nothing to guess.
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
_FORM = re.compile(rb"(?P<prefix>q[xsl])_(?P<selector>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# What a sent secret is compared with when there is no row, so that both take as long.
_NOBODY = "0" * 64


@dataclass(frozen=True)
class Credential:
    """A new credential: `text` is shown or sent once, `selector` is stored."""

    selector: str
    text: str


def new_credential(prefix: str) -> Credential:
    """Return a fresh random credential."""
    selector = secrets.token_hex(_SELECTOR_BYTES)
    return Credential(selector, f"{prefix}_{selector}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def parse_selector(sent: bytes, prefix: str) -> str | None:
    """Return the public part of a credential, None if it is none with this prefix."""
    match = _FORM.fullmatch(sent) if len(sent) <= MAX_SECRET_BYTES else None
    if match is None or match["prefix"].decode() != prefix:
        return None
    return match["selector"].decode()


def digest(secret: bytes) -> str:
    """Return the SHA-256 of a secret, as it is stored."""
    return hashlib.sha256(secret).hexdigest()


def bound_digest(secret: bytes, key: bytes) -> str:
    """Return the HMAC-SHA-256 of a secret under the token that it stands for."""
    return hmac.new(key, secret, hashlib.sha256).hexdigest()


def is_same_digest(found: str, stored: str | None) -> bool:
    """Compare two digests in constant time; `stored` is None where there is no row."""
    is_equal = hmac.compare_digest(found.encode(), (stored or _NOBODY).encode())
    return is_equal and stored is not None


def is_expected_secret(sent: bytes, expected: str) -> bool:
    """Compare a sent secret with a configured one, in a time that tells nothing of either.

    Digests are compared, because comparing two strings of different length shows that length.
    """
    if not expected or len(sent) > max(MAX_SECRET_BYTES, len(expected.encode())):
        return False
    return is_same_digest(digest(sent), digest(expected.encode()))
