"""How often a login may fail: so many times a window and address, counted in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from threading import Lock
from time import monotonic

MAX_FAILURES = 10
WINDOW_SECONDS = 300.0
MAX_ADDRESSES = 4096


def _group(host: str) -> str:
    # One customer has 2^64 addresses of version 6: they count as one.
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return address.exploded[:19]
    return host


class Attempts:
    """Failed logins by address; the address that failed longest ago is forgotten first.

    What a forgotten address gains is a few more guesses; tokens that this program makes have 256
    random bits, so this protects a short QUANTA_TOKEN, and the log from being flooded.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def begin(self, host: str) -> int:
        """Count an attempt and return 0, or return how many seconds it comes too early.

        It counts as failed until `succeeded` says otherwise: many at once gain nothing.
        """
        key, now = _group(host), self._clock()
        with self._lock:
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

    def succeeded(self, host: str) -> None:
        """Forget the failures of an address."""
        with self._lock:
            self._failures.pop(_group(host), None)
