"""Rate limit of failed logins for each address, in bounded memory.

The login form and the Authorization header share one limit.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from threading import Lock
from time import monotonic

MAX_FAILURES = 10
WINDOW_SECONDS = 300.0
MAX_ADDRESSES = 4096
MAX_VALID_TOKENS = 1024


def _group(host: str) -> str:
    # A customer usually has a /64 network of IPv6: count it as one address.
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return address.exploded[:19]
    return host


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class LoginAttempts:
    """Failed attempts by address; when full, the least recent address is dropped.

    A dropped address gains a few more guesses. Generated tokens have 256 random bits, so the limit
    protects a short QUANTA_TOKEN, and the log from being flooded.

    Recently valid tokens are not counted, so that a program with a wrong token does not lock out
    others at its address.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._valid_tokens: OrderedDict[bytes, None] = OrderedDict()

    def register(self, host: str, token: bytes | None = None) -> int:
        """Count an attempt; return 0, or the seconds to wait if there were too many.

        It counts as failed until `record_success`, so that parallel attempts gain nothing. An
        attempt with a recently valid `token` is not counted.
        """
        key, now = _group(host), self._clock()
        with self._lock:
            if token is not None and _digest(token) in self._valid_tokens:
                return 0
            started, count = self._failures.get(key, (now, 0))
            if now - started >= WINDOW_SECONDS:
                started, count = now, 0
            if count >= MAX_FAILURES:
                return int(started + WINDOW_SECONDS - now) + 1
            self._failures[key] = (started, count + 1)
            self._failures.move_to_end(key)
            if len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)
            return 0

    def record_success(self, host: str, token: bytes | None = None) -> None:
        """Uncount one attempt; earlier failures of the address still count.

        A `token` is remembered as valid until `record_failure`.
        """
        with self._lock:
            if token is not None and (digest := _digest(token)) in self._valid_tokens:
                self._valid_tokens.move_to_end(digest)
                return
            if token is not None:
                self._valid_tokens[digest] = None
                if len(self._valid_tokens) > MAX_VALID_TOKENS:
                    self._valid_tokens.popitem(last=False)
            self._uncount(_group(host))

    def record_failure(self, token: bytes) -> None:
        """Forget that a token was valid."""
        with self._lock:
            self._valid_tokens.pop(_digest(token), None)

    def _uncount(self, key: str) -> None:
        started, count = self._failures.get(key, (0.0, 0))
        if count > 1:
            self._failures[key] = (started, count - 1)
        else:
            self._failures.pop(key, None)
