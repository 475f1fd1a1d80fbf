"""Values made from many rows, memoized until the store changes (`backend.store.versions`).

Only for what that names: corpora, suites, finished evaluations and curves; no jobs, no measures.
What is kept is shared between threads: frozen views, or rows that are detached and never changed.
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


class _Shelf:
    def __init__(self, store: Store) -> None:
        # Not the store itself: it would hold what it is the key of.
        self._versions = Versions(store.engine)
        self._lock = threading.Lock()
        self._version = ""
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        # Before anything is read: what is then kept under it is never older.
        version = self._versions.current()
        with self._lock:
            if version != self._version:
                self._values.clear()
                self._version = version
            if key in self._values:
                self._values.move_to_end(key)
                return cast(T, self._values[key])
        made = make()
        with self._lock:
            if version == self._version:
                self._values[key] = made
                while len(self._values) > MAX_VALUES:
                    self._values.popitem(last=False)
        return made


_shelves: WeakKeyDictionary[Store, _Shelf] = WeakKeyDictionary()
_making = threading.Lock()


def memoize_by_version(store: Store, key: Hashable, make: Callable[[], T]) -> T:
    """Return what `make` returns, which depends on nothing but the key and the store's version.

    Errors of `make` are not kept.
    """
    with _making:
        shelf = _shelves.get(store)
        if shelf is None:
            shelf = _shelves[store] = _Shelf(store)
    return shelf.get(key, make)
