"""Memoization of values until the store changes (see `backend.store.versions`).

Only for values made from the tables that it tracks: no jobs, no measures. Threads share the values,
which must be frozen views, or detached rows that nobody changes.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from backend.store.database import Store
from backend.store.versions import Versions

T = TypeVar("T")
MAX_VALUES = 256


class _VersionedCache:
    def __init__(self, store: Store) -> None:
        # Not the store itself: as its own dictionary key it would never be collected.
        self._versions = Versions(store.engine)
        self._lock = threading.Lock()
        self._version = ""
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        # Read before the computation, so that a value is never older than its version.
        version = self._versions.current()
        with self._lock:
            if version != self._version:
                self._values.clear()
                self._version = version
            if key in self._values:
                self._values.move_to_end(key)
                return cast(T, self._values[key])
        value = compute()
        with self._lock:
            if version == self._version:
                self._values[key] = value
                while len(self._values) > MAX_VALUES:
                    self._values.popitem(last=False)
        return value


_caches: WeakKeyDictionary[Store, _VersionedCache] = WeakKeyDictionary()
_caches_lock = threading.Lock()


def memoize_by_version(store: Store, key: Hashable, compute: Callable[[], T]) -> T:
    """Return `compute()`, memoized under `key` until the store's version changes.

    `key` must determine the value together with the version; errors are not memoized.
    """
    with _caches_lock:
        cache = _caches.get(store)
        if cache is None:
            cache = _caches[store] = _VersionedCache(store)
    return cache.get(key, compute)
