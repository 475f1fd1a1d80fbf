"""Fetching from a hub: resumed, verified, patient, and clear when it cannot be."""

import errno
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from backend.errors import InvalidInputError, NotFoundError, QuantaError
from backend.weights.hub_download import Hub, RetryPolicy
from backend.weights.hub_locations import HubFile, HubLocation, parse_location, validate_endpoint
from tests.hub import StandInHub, serve_hub
from tests.processes import free_port

REPOSITORY = "EleutherAI/pythia-70m"
WEIGHTS = bytes(range(256)) * 12_000  # three blocks of the client
QUICK = RetryPolicy(tries=4, first_wait=0.01)


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with serve_hub(StandInHub()) as served:
        served.add(REPOSITORY, "step0", {"model.safetensors": WEIGHTS, "config.json": b"{}"})
        yield served


@pytest.fixture
def location(hub: StandInHub) -> HubLocation:
    return HubLocation(REPOSITORY, hub.branches[REPOSITORY]["step0"], hub.url)


def fetch(location: HubLocation, folder: Path, name: str = "model.safetensors") -> bytes:
    client = Hub(location.endpoint, QUICK)
    client.download(location, client.files(location)[name], folder)
    return (folder / name).read_bytes()


def ranges(hub: StandInHub) -> list[str]:
    return [params for path, params in hub.requests if path.startswith("/cdn/")]


def test_branches_and_files_are_those_of_the_hub(hub: StandInHub, location: HubLocation) -> None:
    client = Hub(hub.url, QUICK)
    assert client.branches(REPOSITORY) == hub.branches[REPOSITORY]
    files = client.files(location)
    assert files["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert (files["config.json"].sha256, files["config.json"].size) == (None, 2)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_arrives_as_it_lies_there(
    hub: StandInHub, location: HubLocation, tmp_path: Path, name: str
) -> None:
    files = hub.commits[REPOSITORY, location.commit]
    assert fetch(location, tmp_path, name) == files[name]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_connection_that_breaks_is_resumed_where_it_stopped(
    hub: StandInHub, location: HubLocation, tmp_path: Path
) -> None:
    hub.cuts["model.safetensors"] = [1_100_000, 1_100_000]
    assert fetch(location, tmp_path) == WEIGHTS
    first, second, third = ranges(hub)
    assert first == ""
    assert 0 < int(second[6:-1]) < int(third[6:-1]) < len(WEIGHTS)


def test_a_fetch_that_ended_with_its_process_is_resumed_by_the_next(
    hub: StandInHub, location: HubLocation, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(WEIGHTS[:1_000_000])
    reached: list[int] = []
    client = Hub(hub.url, QUICK)
    file = client.files(location)["model.safetensors"]
    client.download(location, file, tmp_path, reached.append)
    assert ranges(hub) == ["bytes=1000000-"]
    assert (tmp_path / "model.safetensors").read_bytes() == WEIGHTS
    assert reached == sorted(reached)
    assert reached[-1] == len(WEIGHTS)


def test_without_ranges_the_file_starts_again(
    hub: StandInHub, location: HubLocation, tmp_path: Path
) -> None:
    hub.ranges = False
    hub.cuts["model.safetensors"] = [1_500_000]
    assert fetch(location, tmp_path) == WEIGHTS


def test_a_part_of_other_bytes_is_thrown_away(
    hub: StandInHub, location: HubLocation, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors.part").write_bytes(b"\0" * 5000)
    assert fetch(location, tmp_path) == WEIGHTS
    assert ranges(hub) == ["bytes=5000-", ""]


@pytest.mark.parametrize(
    "lie", [b"\1" * len(WEIGHTS), WEIGHTS + b"more"], ids=["other bytes", "too many"]
)
def test_a_wrong_hash_leaves_nothing_behind(
    hub: StandInHub, location: HubLocation, tmp_path: Path, lie: bytes
) -> None:
    hub.replaced_content["model.safetensors"] = lie
    with pytest.raises(QuantaError, match=r"model\.safetensors of .*pythia-70m@.* another hash"):
        fetch(location, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fewer_bytes_than_announced_are_asked_for_until_patience_ends(
    hub: StandInHub, location: HubLocation, tmp_path: Path
) -> None:
    hub.replaced_content["model.safetensors"] = WEIGHTS[:1000]
    with pytest.raises(QuantaError, match="cannot be reached"):
        fetch(location, tmp_path)


@pytest.mark.parametrize("part", ["/refs", "/revision/", "/resolve/", "/cdn/"])
def test_429_is_waited_out_as_long_as_the_hub_asks(
    hub: StandInHub, location: HubLocation, tmp_path: Path, part: str
) -> None:
    hub.refusals[part] = [(429, {"Retry-After": "1"}), (503, {})]
    started = time.monotonic()
    Hub(hub.url, QUICK).branches(REPOSITORY)
    assert fetch(location, tmp_path) == WEIGHTS
    assert 1 <= time.monotonic() - started < 20


def test_a_limit_in_the_hubs_own_header_is_waited_out(hub: StandInHub) -> None:
    said: list[str] = []
    hub.refusals["/refs"] = [(429, {"RateLimit": '"api";r=0;t=2'})]
    Hub(hub.url, QUICK, say=said.append).branches(REPOSITORY)
    assert said == [f"{REPOSITORY}: 429; retrying in 2 s"]


@pytest.mark.parametrize(
    "wait", ["100000", "Fri, 01 Jan 2100 00:00:00 GMT"], ids=["seconds", "date"]
)
def test_a_hub_that_asks_for_hours_is_an_error_at_once(hub: StandInHub, wait: str) -> None:
    hub.refusals["/refs"] = [(429, {"Retry-After": wait})]
    started = time.monotonic()
    with pytest.raises(QuantaError, match="answers 429"):
        Hub(hub.url, QUICK).branches(REPOSITORY)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_patience_ends(hub: StandInHub, status: int) -> None:
    hub.refusals["/refs"] = [(status, {})] * 9
    with pytest.raises(QuantaError, match=f"answers {status}"):
        Hub(hub.url, QUICK).branches(REPOSITORY)
    assert len(hub.refusals["/refs"]) == 9 - QUICK.tries


def test_what_is_not_there_is_asked_for_once(hub: StandInHub, location: HubLocation) -> None:
    client = Hub(hub.url, QUICK)
    with pytest.raises(NotFoundError, match=r"pythia-9t.* does not have it"):
        client.branches("EleutherAI/pythia-9t")
    gone = HubLocation(REPOSITORY, "f" * 40, hub.url)
    with pytest.raises(NotFoundError, match=r"pythia-70m@ffffffffffff.* no such revision"):
        client.files(gone)
    assert len(hub.requests) == len({path for path, _ in hub.requests})


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_says_how_to_log_in(hub: StandInHub, status: int) -> None:
    hub.refusals["/refs"] = [(status, {})]
    with pytest.raises(QuantaError) as caught:
        Hub(hub.url, QUICK).branches(REPOSITORY)
    assert "HF_TOKEN" in caught.value.remedy


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(QuantaError, match=f"{address} cannot be reached") as caught:
        Hub(address, QUICK).branches(REPOSITORY)
    assert "HF_ENDPOINT" in caught.value.remedy


def test_offline_mode_is_named(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(QuantaError, match="HF_HUB_OFFLINE is set"):
        Hub(hub.url, QUICK).branches(REPOSITORY)
    assert hub.requests == []


def test_an_address_that_is_no_hub_is_named(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refusals["/refs"] = [(200, {})]
    with pytest.raises(QuantaError, match=r"127\.0\.0\.1 is not a hub's list of branches"):
        Hub(hub.url, QUICK).branches(REPOSITORY)


def test_a_full_disk_is_named_and_its_part_removed(
    hub: StandInHub, location: HubLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, block: bytes) -> None:
            self.file.write(block[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path: Path, mode: str = "r", **rest: Any) -> Any:
        file = real(path, mode, **rest)
        return Full(file) if path.suffix == ".part" and mode == "wb" else file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(QuantaError, match=f"the disk of {tmp_path} is full"):
        fetch(location, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_persons_token_goes_to_the_usual_hub_alone(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub(hub.url, QUICK).branches(REPOSITORY)
    assert hub.authorizations == {None}
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    Hub(None, QUICK).branches(REPOSITORY)
    assert hub.authorizations == {None, "Bearer hf_secret"}


def test_locations_are_read_as_they_are_written() -> None:
    for endpoint in (None, "http://127.0.0.1:8123"):
        location = HubLocation(REPOSITORY, "a" * 40, endpoint)
        assert parse_location(str(location)) == location
    for folder in ("/models/70m/step0", "hub:EleutherAI/pythia-70m@step0", "hub:x@" + "a" * 40):
        assert parse_location(folder) is None


@pytest.mark.parametrize("endpoint", ["ftp://a.b", "huggingface.co", "http://u:p@a.b", "http://"])
def test_an_endpoint_must_be_a_plain_address(endpoint: str) -> None:
    with pytest.raises(InvalidInputError, match="the endpoint is") as caught:
        validate_endpoint(endpoint)
    assert "u:p" not in caught.value.problem


def test_the_usual_endpoint_is_none() -> None:
    assert validate_endpoint(constants.ENDPOINT + "/") is None
    assert validate_endpoint("http://127.0.0.1:1/") == "http://127.0.0.1:1"


def test_a_small_file_has_gits_hash() -> None:
    # `git hash-object` of an empty file.
    empty = HubFile("a", 0, None, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    assert empty.hasher().hexdigest() == empty.digest
