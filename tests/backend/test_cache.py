"""Caches: built once, removed by budget, never missed."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backend.settings import Settings
from backend.store import cache
from backend.store.cache import memory_map, remove_orphan_parts
from backend.store.database import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    # Room for three files of 1,000 float64 with their headers.
    return open_store(Settings(data_dir=tmp_path, cache_gb=3.5 * 8128 / 1e9))


def made(store: Store, number: int, calls: list[int]) -> NDArray[Any]:
    def fill(array: NDArray[Any]) -> None:
        calls.append(number)
        array[:] = number

    return memory_map(store, f"kind-{number}.npy", (1000,), "float64", fill)


def test_what_was_opened_longest_ago_goes_and_is_built_again(store: Store) -> None:
    calls: list[int] = []
    first = made(store, 0, calls)
    for number in (1, 2):
        made(store, number, calls)
        # Opened long before: file times may be coarse.
        os.utime(store.settings.cache_dir / f"kind-{number}.npy", (number, number))
    made(store, 3, calls)
    assert sorted(p.name for p in store.settings.cache_dir.iterdir()) == [
        "kind-0.npy",
        "kind-2.npy",
        "kind-3.npy",
    ]
    made(store, 4, calls)
    assert not (store.settings.cache_dir / "kind-2.npy").exists()
    assert (first == 0).all()
    assert calls == [0, 1, 2, 3, 4]
    cache._open.cache_clear()
    cache._open_arrays.clear()
    assert (made(store, 1, calls) == 1).all()
    assert calls == [0, 1, 2, 3, 4, 1]


def test_a_file_that_goes_before_it_is_opened_is_built_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    evict = cache._evict

    def evicted_by_another(folder: Path, newest: Path, budget: int) -> None:
        evict(folder, newest, budget)
        if len(calls) == 1:
            newest.unlink()

    monkeypatch.setattr(cache, "_evict", evicted_by_another)
    assert (made(store, 5, calls) == 5).all()
    assert calls == [5, 5]


def test_a_half_built_file_is_not_left(store: Store) -> None:
    def fail(array: NDArray[Any]) -> None:
        array[:10] = np.nan
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory_map(store, "kind.npy", (1000,), "float64", fail)
    assert list(store.settings.cache_dir.iterdir()) == []


def test_parts_of_ended_programs_go_and_one_that_is_written_stays(tmp_path: Path) -> None:
    left = tmp_path / "losses-1.npyabc.part"
    left.write_bytes(b"half")
    seen = []

    def fill(array: NDArray[Any]) -> None:
        remove_orphan_parts(tmp_path)
        seen.extend(path.name for path in tmp_path.glob("*.part"))
        array[:] = 7

    cache._build(tmp_path / "losses-2.npy", (3,), "<f4", fill)
    assert len(seen) == 1
    assert seen[0].startswith("losses-2.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["losses-2.npy"]
    assert np.load(tmp_path / "losses-2.npy").tolist() == [7, 7, 7]
