"""Suites by name, from the command line to clusters, with a stand-in for the hub."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from backend import cli
from backend.jobs import leases, unit_runner
from backend.jobs.queue import submit
from backend.progress import WORK_LOG
from backend.read.documents import read_all
from backend.read.losses import evaluation_losses
from backend.settings import Settings, settings
from backend.store.database import Store, open_store
from backend.store.lookup import suite_named
from backend.store.tables import Checkpoint, Evaluation, LossChunk, Model, Suite, TargetLoss
from backend.weights.hub_locations import parse_location
from compute.losses import document_losses
from tests.hub import (
    SIZES,
    STEPS,
    StandInHub,
    add_pythia,
    model,
    model_files,
    serve_hub,
    tokenizer_json,
)
from tests.processes import ROOT, command, environment, free_port, quanta

Run = Callable[..., tuple[int, str, str]]
REPOSITORY = "EleutherAI/pythia-70m"


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with serve_hub(add_pythia(StandInHub())) as served:
        yield served


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the command line in this process; returns (exit code, output, errors)."""
    monkeypatch.setenv("QUANTA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    before = (WORK_LOG.handlers[:], WORK_LOG.propagate, WORK_LOG.level)

    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quanta", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    yield main
    for handler in WORK_LOG.handlers:
        handler.close()
    WORK_LOG.handlers, WORK_LOG.propagate = before[0], before[1]
    WORK_LOG.setLevel(before[2])
    settings.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The store that `run` writes to."""
    opened = open_store(Settings(data_dir=tmp_path / "data"))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    lines = [
        json.dumps({"text": f"document {i}: " + "the quick brown fox; " * 3}) for i in range(8)
    ]
    path.write_text("\n".join(lines))
    return path


def parsed(done: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = done
    assert code == 0, err
    document = json.loads(out)
    assert isinstance(document, dict)
    return document


def test_the_whole_main_job_runs_on_pythia_by_name(
    hub: StandInHub, run: Run, store: Store, texts: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    largest = max(sum(len(b) for b in files.values()) for files in hub.commits.values())
    # Room for less than two of the largest of the twelve checkpoints.
    monkeypatch.setenv("QUANTA_HUB_CACHE_GB", str(1.9 * largest / 1e9))
    added = parsed(run("suite", "add", "pythia", "--endpoint", hub.url, "--json"))
    assert not hub.count_downloads("model.safetensors")
    (suite,) = added["suites"]
    assert suite["models"] == {f"pythia-{size}": list(STEPS) for size in SIZES}
    parsed(
        run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--max-tokens",
            "64", "--json")
    )  # fmt: skip
    losses = parsed(run("evaluate", "pythia", "t", "--workers", "1", "--json"))["evaluations"]
    assert len(losses) == len(SIZES) * len(STEPS)
    assert set(hub.count_downloads("model.safetensors").values()) == {1}
    cached_files = [p for p in (tmp_path / "data/hub").glob("*/*/model.safetensors")]
    assert 1 <= len(cached_files) < len(losses)
    sets = parsed(run("classify", "pythia", "t", "--json"))["curve_sets"]
    assert [s["axis"] for s in sets] == ["N", "S", "S", "S"]
    discovered = parsed(
        run("discover", "pythia", "t", "--model", "pythia-70m", "--threshold", "20", "--limit",
            "40", "--n-clusters", "3,5", "--json")
    )  # fmt: skip
    assert set(discovered["clusterings"]) == {"3", "5"}
    _assert_losses_are_the_models(store)


def _assert_losses_are_the_models(store: Store) -> None:
    """Compare one checkpoint's stored losses with those of the model it should be."""
    with store.session() as session:
        row = session.scalars(
            select(Evaluation)
            .join(Checkpoint)
            .join(Model)
            .where(Model.name == "pythia-160m", Checkpoint.step == 1000)
        ).one()
        stored = evaluation_losses(session, row).astype(np.float64)
        documents = read_all(session, row.corpus)
    direct = document_losses(model(SIZES["160m"], 11_000).eval(), documents)
    np.testing.assert_allclose(stored, direct, rtol=6e-4, atol=1e-3)


def test_an_interrupted_evaluation_fetches_nothing_again_that_it_needs_no_more(
    hub: StandInHub, run: Run, store: Store, texts: Path
) -> None:
    parsed(run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--json"))
    parsed(run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--json"))
    gone = hub.branches[REPOSITORY]["step1000"]
    files = hub.commits.pop((REPOSITORY, gone))
    code, _, err = run("evaluate", "pythia", "t", "--workers", "1")
    assert code == 2
    assert f"{REPOSITORY}@{gone[:12]}: {hub.url} has no such revision" in err
    with store.session() as session:
        assert session.scalar(select(func.count()).select_from(LossChunk)) == 2
    hub.commits[REPOSITORY, gone] = files
    hub.requests.clear()
    assert len(parsed(run("evaluate", "pythia", "t", "--workers", "1", "--json"))) == 1
    assert set(hub.count_downloads("model.safetensors")) <= {
        hub.branches[REPOSITORY][f"step{step}"] for step in (1000, 2000)
    }


def test_n_is_computed_and_a_published_one_that_differs_is_said(
    hub: StandInHub, run: Run, store: Store
) -> None:
    code, out, _ = run("suite", "add", "pythia", "--endpoint", hub.url)
    assert code == 0
    note = "pythia-70m: N is 4,480 by its config.json; published is 18,915,328"
    assert f"note: {note}" in out
    assert "pythia-12b is not on the hub and was left out" in out
    with store.session() as session:
        suite = suite_named(session, "pythia")
        assert note in suite.description
        smallest = suite.models[0]
        assert smallest.nonembedding_parameters == 4_480
        last = smallest.checkpoints[-1]
        assert (last.step, last.tokens_seen) == (2000, 2000 * 2_097_152)
        location = parse_location(last.location)
        assert location is not None
        assert location.commit == hub.branches[REPOSITORY]["step2000"]
        assert len({c.key for m in suite.models for c in m.checkpoints}) == 12


def test_registering_again_changes_nothing_and_adds_what_is_new(
    hub: StandInHub, run: Run, store: Store
) -> None:
    for step in ("0,1000", "0-1000:500", "0,1,2000"):
        parsed(
            run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--model",
                "pythia-160m", "--step", step, "--json")
        )  # fmt: skip
    with store.session() as session:
        steps = {m.name: [c.step for c in m.checkpoints] for m in session.scalars(select(Model))}
        (suite,) = session.scalars(select(Suite))
        assert suite.description.count("pythia-70m: N is") == 1
    assert steps == {"pythia-70m": [0, 1, 1000, 2000], "pythia-160m": [0, 1, 1000, 2000]}


def test_a_branch_that_moved_keeps_the_commit_that_results_belong_to(
    hub: StandInHub, run: Run, store: Store
) -> None:
    options = ("--endpoint", hub.url, "--model", "70m")
    parsed(run("suite", "add", "pythia", *options, "--step", "0,1", "--json"))
    with store.session() as session:
        before = {c.step: (c.key, c.location) for c in session.scalars(select(Checkpoint))}
    hub.add(REPOSITORY, "step1", model_files(16, 1) | {"README.md": b"changed"})
    code, out, err = run("suite", "add", "pythia", *options, "--step", "0,1,1000")
    assert code == 0, err
    assert "pythia-70m keeps the commits registered before for steps 1" in out + err
    with store.session() as session:
        after = {c.step: (c.key, c.location) for c in session.scalars(select(Checkpoint))}
    assert set(after) == {0, 1, 1000}
    assert {step: after[step] for step in before} == before


REFUSED: dict[str, tuple[list[str], str]] = {
    "a step that is not there": (["--step", "0,5"], "has no revision step5"),
    "a range without steps": (["--step", "3-900:3"], "has none of the requested steps"),
    "a model that is not on the hub": (["--model", "12b"], "pythia-12b.* does not have it"),
    "an unknown model": (["--model", "13b"], "suite pythia has no model '13b'"),
    "an address that is none": (["--endpoint", "hub"], "the endpoint is"),
    "a name that no URL takes": (["--name", "a b"], "suite name 'a b' is not usable"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_nothing_is_registered_after_a_refusal(
    hub: StandInHub, run: Run, store: Store, options: list[str], message: str
) -> None:
    code, _, err = run("suite", "add", "pythia", "--endpoint", hub.url, *options)
    assert code == 2
    assert re.search(message, err)
    with store.session() as session:
        assert session.scalars(select(Suite)).all() == []


def test_a_hub_that_cannot_be_reached_is_said_within_seconds(run: Run) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    code, _, err = run("suite", "add", "pythia", "--endpoint", address)
    assert code == 2
    assert f"{address} cannot be reached" in err
    assert "HF_ENDPOINT" in err


def test_another_tokenizer_is_refused_another_file_of_the_same_is_not(
    hub: StandInHub, run: Run
) -> None:
    compact = json.dumps(json.loads(tokenizer_json())).encode()
    hub.add("EleutherAI/pythia-160m", "step0", model_files(32, 1) | {"tokenizer.json": compact})
    options = ("--endpoint", hub.url, "--step", "0")
    parsed(run("suite", "add", "pythia", *options, "--json"))
    other = json.loads(tokenizer_json())
    other["model"]["vocab"] |= {
        "a": other["model"]["vocab"]["b"],
        "b": other["model"]["vocab"]["a"],
    }
    changed = model_files(48, 1) | {"tokenizer.json": json.dumps(other).encode()}
    hub.add("EleutherAI/pythia-410m", "step0", changed)
    code, _, err = run("suite", "add", "pythia", "--name", "again", *options)
    assert code == 2
    assert "pythia-410m has another tokenizer" in err


def test_a_revision_without_its_tokenizer_takes_that_of_main(hub: StandInHub, run: Run) -> None:
    files = {k: v for k, v in model_files(16, 1).items() if k != "tokenizer.json"}
    hub.add(REPOSITORY, "step1", files)
    parsed(
        run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--step", "1",
            "--json")
    )  # fmt: skip


def test_weights_of_another_size_than_registered_are_refused(
    hub: StandInHub, run: Run, texts: Path
) -> None:
    hub.add(REPOSITORY, "step0", model_files(32, 1))
    parsed(run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--json"))
    parsed(run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--json"))
    code, _, err = run("evaluate", "pythia", "t", "--workers", "1")
    assert code == 2
    assert "implies N = 17,152, pythia-70m is registered with 4,480" in err


def test_seeds_are_registered_as_a_suite_each(hub: StandInHub, run: Run, store: Store) -> None:
    for seed in range(1, 10):
        hub.add(f"EleutherAI/pythia-14m-seed{seed}", "step1000", model_files(16, seed))
    added = parsed(run("suite", "add", "pythia-seeds", "--endpoint", hub.url, "--json"))
    assert [s["suite"] for s in added["suites"]] == [f"pythia-seed{k}" for k in range(1, 10)]
    code, _, err = run("suite", "add", "pythia-seeds", "--name", "x", "--endpoint", hub.url)
    assert (code, "would name 9 suites" in err) == (2, True)


def test_a_name_that_is_both_or_neither_says_so(hub: StandInHub, run: Run, tmp_path: Path) -> None:
    code, _, err = run("suite", "add", "pythium")
    assert (code, "neither a folder nor a suite of the catalogue" in err) == (2, True)
    assert "pythia-deduped" in err
    (tmp_path / "pythia").mkdir()
    code, _, err = run("suite", "add", "pythia", "--endpoint", hub.url)
    assert (code, "Write ./pythia for the folder" in err) == (2, True)
    code, _, err = run("suite", "add", "./pythia")
    assert (code, "holds no MODEL/stepS folder" in err) == (2, True)
    code, _, err = run("suite", "add", "./pythia", "--step", "0")
    assert (code, "--step is for suites of the catalogue" in err) == (2, True)
    parsed(run("suite", "add", "hub:pythia", "--endpoint", hub.url, "--model", "70m", "--json"))


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_ends_in_the_middle_of_a_file_is_continued_there(
    hub: StandInHub, run: Run, texts: Path, tmp_path: Path, end: signal.Signals
) -> None:
    parsed(
        run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--step", "1000",
            "--json")
    )  # fmt: skip
    parsed(run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--json"))
    hub.stalls["model.safetensors"] = 20_000
    process = subprocess.Popen(
        command("evaluate", "pythia", "t", "--workers", "1"),
        env=environment(tmp_path / "data"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        # A shell starts what runs in the background with SIGINT ignored, for its children too.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    part = Path("model.safetensors.part")
    deadline = time.monotonic() + 120
    while sum(p.stat().st_size for p in (tmp_path / "data/hub").glob(f"*/*/{part}")) < 20_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(end)
    process.communicate(timeout=60)
    hub.resume.set()
    hub.requests.clear()
    assert len(parsed(run("evaluate", "pythia", "t", "--workers", "1", "--json"))) == 1
    sent = [params for path, params in hub.requests if path.endswith("/model.safetensors")]
    assert set(sent) == {"bytes=20000-"}
    (cached,) = (tmp_path / "data/hub").glob("*/*/model.safetensors")
    commit = hub.branches[REPOSITORY]["step1000"]
    assert cached.read_bytes() == hub.commits[REPOSITORY, commit]["model.safetensors"]


def test_jobs_fetch_weights_only_if_they_may(
    hub: StandInHub, run: Run, store: Store, texts: Path, tmp_path: Path
) -> None:
    parsed(
        run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--step", "1000",
            "--json")
    )  # fmt: skip
    parsed(run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--json"))
    parsed(run("evaluate", "pythia", "t", "--workers", "1", "--json"))
    unit = ["checkpoint", "pythia-70m", 1000]
    worker = leases.register_worker(store, "cpu")
    job = submit(store, "measure", {"corpus": "t", "document": 1, "target": "id:5"})

    def performed(**changes: Any) -> list[str] | None:
        config = Settings(data_dir=tmp_path / "data", device="cpu", **changes).model_dump_json()
        try:
            return unit_runner.perform(config, worker, job.id, unit)[1]
        finally:
            unit_runner._open_store(config, worker)[0].engine.dispose()

    shutil.rmtree(tmp_path / "data/hub")
    hub.requests.clear()
    refused = performed()
    assert refused is not None
    assert "jobs may not fetch" in refused[0]
    assert hub.requests == []
    assert performed(jobs_fetch=True) is None
    assert set(hub.count_downloads("model.safetensors").values()) == {1}
    with store.session() as session:
        assert len(session.scalars(select(TargetLoss)).all()) == 1


@pytest.mark.slow
def test_two_processes_share_what_one_fetched(hub: StandInHub, run: Run, texts: Path) -> None:
    added = parsed(run("suite", "add", "pythia", "--endpoint", hub.url, "--model", "70m", "--json"))
    parsed(run("corpus", "add", str(texts), "--name", "t", "--tokenizer", "pythia", "--json"))
    assert added["suites"][0]["models"] == {"pythia-70m": list(STEPS)}
    done = parsed(run("evaluate", "pythia", "t", "--workers", "2", "--json"))
    assert [e["step"] for e in done["evaluations"]] == list(STEPS)
    assert set(hub.count_downloads("model.safetensors").values()) == {1}


@pytest.mark.slow
def test_the_hub_of_the_environment_is_the_usual_one(hub: StandInHub, tmp_path: Path) -> None:
    done = quanta(
        tmp_path / "data", "suite", "add", "pythia", "--model", "70m", "--json",
        HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["suites"][0]["models"] == {"pythia-70m": list(STEPS)}
    opened = open_store(Settings(data_dir=tmp_path / "data"))
    with opened.session() as session:
        for checkpoint in session.scalars(select(Checkpoint)):
            assert " from " not in checkpoint.location
    opened.engine.dispose()
