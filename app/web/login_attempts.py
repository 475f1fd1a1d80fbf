"""How often a token may be wrong: so many times a window and address, counted in bounded memory.

The login form and the Authorization header count together: a guess is a guess.
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
MAX_KNOWN_TOKENS = 1024


def _group(host: str) -> str:
    # One customer has 2^64 addresses of version 6: they count as one.
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
    """Wrong tokens by address; the address that failed longest ago is forgotten first.

    What a forgotten address gains is a few more guesses; tokens that this program makes have 256
    random bits, so this protects a short QUANTA_TOKEN, and the log from being flooded.

    A token that was right a moment ago is no guess: one program with a wrong token does not shut
    out the others at its address.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def register(self, host: str, token: bytes | None = None) -> int:
        """Count an attempt and return 0, or return how many seconds it comes too early.

        It counts as failed until `record_success`, so that many at once gain nothing. One with a
        `token` that was right before is not counted.
        """
        key, now = _group(host), self._clock()
        with self._lock:
            if token is not None and _digest(token) in self._right:
                return 0
            began, count = self._failures.get(key, (now, 0))
            if now - began >= WINDOW_SECONDS:
                began, count = now, 0
            if count >= MAX_FAILURES:
                return int(began + WINDOW_SECONDS - now) + 1
            self._failures[key] = (began, count + 1)
            self._failures.move_to_end(key)
            if len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)
            return 0

    def record_success(self, host: str, token: bytes | None = None) -> None:
        """Take one attempt back: it was none. Earlier failures of the address still count.

        With a `token`: it was right, and is no attempt from now on until `record_failure`.
        """
        with self._lock:
            if token is not None and (known := _digest(token)) in self._right:
                self._right.move_to_end(known)
                return
            if token is not None:
                self._right[known] = None
                if len(self._right) > MAX_KNOWN_TOKENS:
                    self._right.popitem(last=False)
            self._take_back(_group(host))

    def record_failure(self, token: bytes) -> None:
        """Note that a token is wrong, perhaps no longer right."""
        with self._lock:
            self._right.pop(_digest(token), None)

    def _take_back(self, key: str) -> None:
        began, count = self._failures.get(key, (0.0, 0))
        if count > 1:
            self._failures[key] = (began, count - 1)
        else:
            self._failures.pop(key, None)
