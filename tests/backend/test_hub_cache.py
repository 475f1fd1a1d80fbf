"""Weights of a hub on this machine: once, verified, within a budget, never evicted in use."""

import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backend.errors import InvalidInputError, NotReadyError, QuantaError
from backend.weights.hub_cache import HubCache, prefetch
from backend.weights.hub_download import Hub, RetryPolicy
from backend.weights.hub_locations import HubLocation
from compute.checkpoints import load_model, weight_files
from tests import hub as stand_in
from tests.hub import StandInHub, model_files, pickled_model_files, serve_hub

REPOSITORY = "EleutherAI/pythia-70m"
HIDDEN = 16
QUICK = RetryPolicy(tries=3, first_wait=0.01)


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with serve_hub(StandInHub()) as served:
        for step in range(4):
            served.add(REPOSITORY, f"step{step}", model_files(HIDDEN, step))
        yield served


def at(hub: StandInHub, branch: str) -> HubLocation:
    return HubLocation(REPOSITORY, hub.branches[REPOSITORY][branch], hub.url)


def size(hub: StandInHub, branch: str) -> int:
    files = hub.commits[REPOSITORY, hub.branches[REPOSITORY][branch]]
    return sum(len(files[name]) for name in ("config.json", "model.safetensors"))


def cache(folder: Path, budget: int = 10**9) -> HubCache:
    return HubCache(folder / "hub", budget, lambda endpoint: Hub(endpoint, QUICK))


def held(folder: Path) -> set[str]:
    return {path.name for path in (folder / "hub").glob("*/*") if path.is_dir()}


def assert_is_model(folder: Path, seed: int, *, half: bool = False) -> None:
    loaded = dict(load_model(folder, vocabulary_size=96).named_parameters())
    for name, parameter in stand_in.model(HIDDEN, seed).named_parameters():
        requested = parameter.half().float() if half else parameter
        assert torch.equal(loaded[name], requested), name


def test_weights_are_fetched_once(hub: StandInHub, tmp_path: Path) -> None:
    for _ in range(2):  # the second is another process's cache
        with cache(tmp_path).open(at(hub, "step1")) as folder:
            assert_is_model(folder.path, 1)
    assert list(hub.count_downloads("model.safetensors").values()) == [1]
    assert list(hub.count_downloads("tokenizer.json").values()) == []


def test_shards_are_fetched_with_their_index(hub: StandInHub, tmp_path: Path) -> None:
    commit = hub.add(REPOSITORY, "sharded", model_files(HIDDEN, 7, shard="8KB"))
    with cache(tmp_path).open(HubLocation(REPOSITORY, commit, hub.url)) as folder:
        assert len(weight_files(folder.path)) > 1
        assert_is_model(folder.path, 7)


def test_safetensors_are_preferred_to_a_pickle(hub: StandInHub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, "both", model_files(HIDDEN, 1) | {"pytorch_model.bin": b"never fetched"})
    with cache(tmp_path).open(at(hub, "both")) as folder:
        assert_is_model(folder.path, 1)
    assert not hub.count_downloads("pytorch_model.bin")


def test_an_old_pickle_is_rewritten_once_and_removed(hub: StandInHub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, "old", pickled_model_files(HIDDEN, 5))
    for _ in range(2):
        with cache(tmp_path).open(at(hub, "old")) as folder:
            assert sorted(p.name for p in folder.path.iterdir()) == [
                "config.json",
                "model.safetensors",
            ]
            assert_is_model(folder.path, 5, half=True)
    assert list(hub.count_downloads("pytorch_model.bin").values()) == [1]


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("is_zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_nothing_in_it_is_run(
    hub: StandInHub, tmp_path: Path, is_zipped: bool
) -> None:
    harm = tmp_path / "harm"
    files = pickled_model_files(HIDDEN, 5, evil=Malicious(harm))
    if not is_zipped:
        files["pytorch_model.bin"] = pickle.dumps({"evil": Malicious(harm)})
    hub.add(REPOSITORY, "evil", files)
    opened = cache(tmp_path)
    with pytest.raises(InvalidInputError, match="more than tensors"), opened.open(at(hub, "evil")):
        pass
    assert not harm.exists()
    assert held(tmp_path) == set()


def test_a_revision_without_weights_is_refused(hub: StandInHub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, "bare", {"config.json": b"{}"})
    with (
        pytest.raises(InvalidInputError, match=r"has no config\.json with"),
        cache(tmp_path).open(at(hub, "bare")),
    ):
        pass


def counted_bytes(opened: HubCache) -> int:
    """Return the bytes that the budget counts."""
    return sum(entry.counted_bytes for entry in opened._entries())


def test_the_longest_unused_is_evicted_first(hub: StandInHub, tmp_path: Path) -> None:
    opened = cache(tmp_path, int(2.5 * size(hub, "step0")))
    for branch in ("step0", "step1", "step0", "step2"):
        with opened.open(at(hub, branch)):
            pass
    assert held(tmp_path) == {at(hub, branch).commit for branch in ("step0", "step2")}
    assert counted_bytes(opened) <= opened.budget_bytes


def test_the_budget_holds_at_every_moment(hub: StandInHub, tmp_path: Path) -> None:
    opened = cache(tmp_path, int(2.5 * size(hub, "step0")))
    for _ in range(2):
        for step in range(4):
            with opened.open(at(hub, f"step{step}")):
                assert counted_bytes(opened) <= opened.budget_bytes
    assert len(held(tmp_path)) == 2


def test_what_is_in_use_is_never_evicted(hub: StandInHub, tmp_path: Path) -> None:
    budget = int(1.5 * size(hub, "step0"))
    with cache(tmp_path, budget).open(at(hub, "step0")) as folder:
        other = cache(tmp_path, budget)
        with pytest.raises(NotReadyError, match="in use take"), other.open(at(hub, "step1")):
            pass
        assert_is_model(folder.path, 0)
    with other.open(at(hub, "step1")):
        assert held(tmp_path) == {at(hub, "step1").commit}


def test_a_checkpoint_larger_than_the_budget_is_refused(hub: StandInHub, tmp_path: Path) -> None:
    opened = cache(tmp_path, size(hub, "step0") - 1)
    with (
        pytest.raises(InvalidInputError, match="QUANTA_HUB_CACHE_GB is"),
        opened.open(at(hub, "step0")),
    ):
        pass
    assert not hub.count_downloads("model.safetensors")


def test_a_disk_without_room_evicts_then_refuses(
    hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = cache(tmp_path)
    with opened.open(at(hub, "step0")):
        pass
    real = shutil.disk_usage

    def full(path: Path) -> object:
        return real(path)._replace(free=0)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(QuantaError, match=r"the disk of .* is full"), opened.open(at(hub, "step1")):
        pass
    assert held(tmp_path) == set()


def test_an_interrupted_fetch_counts_in_full_and_is_continued(
    hub: StandInHub, tmp_path: Path
) -> None:
    opened = cache(tmp_path)
    hub.cuts["model.safetensors"] = [1000] + [0] * 9
    with pytest.raises(QuantaError, match="cannot be reached"), opened.open(at(hub, "step0")):
        pass
    assert counted_bytes(opened) == size(hub, "step0")
    hub.cuts.clear()
    with opened.open(at(hub, "step0")) as folder:
        assert_is_model(folder.path, 0)
    assert hub.requests[-1][1] == "bytes=1000-"


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_damaged_weights_are_fetched_again(hub: StandInHub, tmp_path: Path, damage: str) -> None:
    with cache(tmp_path).open(at(hub, "step0")) as folder:
        path = folder.path / "model.safetensors"
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    else:
        path.unlink()
    with cache(tmp_path).open(at(hub, "step0")) as folder:
        assert_is_model(folder.path, 0)
    assert list(hub.count_downloads("model.safetensors").values()) == [2]


def test_two_at_once_fetch_once(hub: StandInHub, tmp_path: Path) -> None:
    matches: list[bytes] = []

    def use() -> None:
        with cache(tmp_path).open(at(hub, "step0")) as folder:
            matches.append((folder.path / "model.safetensors").read_bytes())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(matches) == 4
    assert len(set(matches)) == 1
    assert list(hub.count_downloads("model.safetensors").values()) == [1]


def test_prefetching_leaves_what_opening_then_finds(hub: StandInHub, tmp_path: Path) -> None:
    opened = cache(tmp_path)
    with prefetch(opened, at(hub, "step0")):
        deadline = threading.Event()
        while not opened.is_cached(at(hub, "step0")):
            assert not deadline.wait(0.02)
    params = len(hub.requests)
    with opened.open(at(hub, "step0")) as folder:
        assert_is_model(folder.path, 0)
    assert len(hub.requests) == params


def test_prefetching_that_fails_is_silent(hub: StandInHub, tmp_path: Path) -> None:
    gone = HubLocation(REPOSITORY, "f" * 40, hub.url)
    with prefetch(cache(tmp_path), gone):
        pass
    with prefetch(cache(tmp_path, 10), at(hub, "step0")):
        pass
    assert held(tmp_path) == set()
