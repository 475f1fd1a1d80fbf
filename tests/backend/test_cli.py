"""The command line: one JSON object for scripts, names that exist, and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import cli
from backend.progress import WORK_LOG
from backend.settings import settings
from backend.store.content_hash import content_hash
from backend.store.database import Store
from tests.processes import ROOT, command, environment, quanta
from tests.stores import BUNDLED, TOKENIZER, copy_store, small_suite

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the command line in this process; returns (exit code, output, errors)."""
    monkeypatch.setenv("QUANTA_DATA_DIR", str(data_dir))
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
def copy(mini_store: Store, data_dir: Path) -> Path:
    """A copy of the miniature store, where `run` looks for it."""
    return copy_store(mini_store, data_dir)


def only_object(out: str) -> dict[str, Any]:
    document = json.loads(out)
    assert isinstance(document, dict)
    assert out.count("\n") == 1
    return document


def test_an_upgrade_twice_changes_nothing(run: Run) -> None:
    code, out, _ = run("db", "upgrade", "--json")
    first = only_object(out)
    assert (code, first["changed"]) == (0, True)
    code, out, _ = run("db", "upgrade", "--json")
    assert (code, only_object(out)) == (0, {**first, "changed": False})


def test_check_prints_the_content_hash(run: Run, copy: Path, mini_store: Store) -> None:
    code, out, err = run("check", "--json")
    digest, counts = content_hash(mini_store)
    assert (code, err) == (0, "")
    assert only_object(out) == {"content_hash": digest, "arrays": counts}
    code, out, _ = run("check")
    assert f"content hash {digest}" in out


def test_check_names_a_damaged_array(run: Run, writable_store: Store) -> None:
    from sqlalchemy import select

    from backend.store.tables import SimilarityStripe

    with writable_store.begin() as session:
        row = session.scalars(select(SimilarityStripe)).first()
        assert row is not None
        row.data = row.data[:-1] + bytes([row.data[-1] ^ 1])
    os.environ["QUANTA_DATA_DIR"] = str(writable_store.settings.data_dir)  # undone by `run`
    settings.cache_clear()
    code, out, err = run("check", "--json")
    assert (code, out) == (2, "")
    assert "cosines" in err
    assert "does not match its checksum" in err


def test_the_demo_that_is_built_computes_nothing(run: Run, copy: Path) -> None:
    code, out, _ = run(
        *("demo", "--documents", "60", "--n-clusters", "5,10,20", "--json"),
        *("--chunk-predictions", "4000"),
    )
    assert (code, only_object(out)) == (0, {"built": True})


def test_results_that_are_stored_are_printed_as_one_object(run: Run, copy: Path) -> None:
    corpus = "mini-held-out-60"
    _, out, _ = run("suite", "list", "--json")
    (suite,) = only_object(out)["suites"]
    assert suite["models"]["s1"] == [0, 8, 32, 64, 128, 250, 500, 1000, 2000]
    _, out, _ = run("evaluate", "mini", corpus, "--model", "s1", "--step", "2000", "--json")
    (evaluation,) = only_object(out)["evaluations"]
    assert (evaluation["model"], evaluation["step"]) == ("s1", 2000)
    assert 1 < evaluation["mean_loss_nats"] < 9
    _, out, _ = run("classify", "mini", corpus, "--json")
    sets = only_object(out)["curve_sets"]
    assert [(s["axis"], s["model"]) for s in sets] == [
        ("N", None),
        ("S", "s1"),
        ("S", "s2"),
        ("S", "s3"),
    ]
    for shares in sets:
        assert sum(shares["classes"].values()) == pytest.approx(1)
    _, out, _ = run(
        *("discover", "mini", corpus, "--model", "s3", "--stride", "3"),
        *("--n-clusters", "5,10,20", "--json"),
    )
    assert set(only_object(out)["clusterings"]) == {"5", "10", "20"}


def test_a_suite_and_a_corpus_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    folder = small_suite(tmp_path / "own", s1=(64, 2000))
    code, out, _ = run("suite", "add", str(folder), "--json")
    assert (code, only_object(out)) == (0, {"suite": "own"})
    file = tmp_path / "a.txt"
    file.write_text("The kernel returns memory to the driver when the device is closed.")
    arguments = ["corpus", "add", str(file), "--name", "notes", "--tokenizer", str(TOKENIZER)]
    code, out, _ = run(*arguments, "--prefix", "0", "--json")
    first = only_object(out)
    assert (code, first["corpus"], first["documents"]) == (0, "notes", 1)
    assert first["predictions"] >= 10
    code, out, _ = run("evaluate", "own", "notes", "--workers", "1", "--json")
    assert [e["step"] for e in only_object(out)["evaluations"]] == [64, 2000]
    code, out, err = run("classify", "own", "notes", "--json")
    assert (code, out) == (2, "")
    assert "fewer than 3 sizes of different N at one step" in err


UNKNOWN: dict[str, tuple[list[str], str]] = {
    "suite": (["evaluate", "pythia", "mini-held-out-60"], "Choose from mini"),
    "corpus": (["evaluate", "mini", "pile"], "Choose from mini-held-out-60"),
    "model": (
        ["evaluate", "mini", "mini-held-out-60", "--model", "70m"],
        "Choose from s1, s2, s3, s4, s5",
    ),
    "step": (
        ["evaluate", "mini", "mini-held-out-60", "--model", "s1", "--step", "7"],
        "Choose from 0, 8, 32, 64, 128, 250, 500, 1000, 2000",
    ),
    "reference": (["discover", "mini", "mini-held-out-60", "--model", "x"], "Choose from s1"),
    "classified": (["classify", "mini", "pile"], "Choose from mini-held-out-60"),
}


@pytest.mark.parametrize(("arguments", "expected"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_name_exits_with_2_and_says_what_there_is(
    run: Run, copy: Path, arguments: list[str], expected: str
) -> None:
    code, out, err = run(*arguments, "--json")
    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err


DISCOVER = ["discover", "mini", "mini-held-out-60", "--model", "s3"]
BAD: dict[str, list[str]] = {
    "letters": [*DISCOVER, "--n-clusters", "ten"],
    "nothing": [*DISCOVER, "--n-clusters", ""],
    "backwards": [*DISCOVER, "--n-clusters", "20-10"],
    "step of 0": [*DISCOVER, "--n-clusters", "10-20:0"],
    "too many": [*DISCOVER, "--n-clusters", "1-99999999999999999999"],
    "too large": [*DISCOVER, "--n-clusters", "100000"],
    "one cluster": [*DISCOVER, "--n-clusters", "1"],
    "maximum loss 0": [*DISCOVER, "--max-loss-nats", "0"],
    "threshold nan": [*DISCOVER, "--threshold", "nan"],
    "threshold inf": [*DISCOVER, "--threshold", "inf"],
    "stride": [*DISCOVER, "--stride", "0"],
    "limit": [*DISCOVER, "--limit", "-3"],
    "starts": [*DISCOVER, "--n-init", "0"],
    "seed": [*DISCOVER, "--seed", "-1"],
    "workers": ["evaluate", "mini", "mini-held-out-60", "--workers", "0"],
    "many workers": ["evaluate", "mini", "mini-held-out-60", "--workers", "10000"],
    "documents": ["demo", "--documents", "1"],
    "port": ["serve", "--port", "99999"],
    "prefix": ["corpus", "add", "x", "--name", "a", "--tokenizer", str(TOKENIZER), "--prefix", "a"],
    "large prefix": [
        *("corpus", "add", str(BUNDLED / "documents.jsonl"), "--name", "a"),
        *("--tokenizer", str(TOKENIZER), "--prefix", "99999999999999999999"),
    ],
    "file": ["corpus", "add", "none.jsonl", "--name", "a", "--tokenizer", str(TOKENIZER)],
    "name": [
        *("corpus", "add", str(BUNDLED / "documents.jsonl"), "--name", "a b"),
        *("--tokenizer", str(TOKENIZER)),
    ],
    "folder": ["suite", "add", "no-such-folder"],
    "option": ["demo", "--no-such-option"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_a_bad_value_exits_with_2_and_computes_nothing(
    run: Run, copy: Path, arguments: list[str]
) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err
    assert "Traceback" not in err
    log = copy / "quanta.log"
    # A selection is cheap, and is what says how many predictions there are.
    work = [line for line in log.read_text().splitlines()] if log.exists() else []
    assert [line for line in work if " select " not in line] == []


def test_an_address_that_others_reach_needs_a_token(run: Run) -> None:
    code, _, err = run("serve", "--host", "0.0.0.0")
    assert code == 2
    assert "QUANTA_TOKEN" in err


@pytest.mark.parametrize("device", ["cuda", "nothing"])
def test_a_device_that_is_not_there_is_refused(
    run: Run, copy: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("QUANTA_DEVICE", device)
    settings.cache_clear()
    code, out, err = run("evaluate", "mini", "mini-held-out-60")
    assert (code, out) == (2, "")
    assert "QUANTA_DEVICE" in err
    assert "Traceback" not in err


def test_every_command_explains_itself(run: Run) -> None:
    groups: list[tuple[str, ...]] = [(), ("db",), ("corpus",), ("suite",), ("export",), ("token",)]
    for group in groups:
        code, out, _ = run(*group, "--help")
        assert code == 0
        assert "Commands" in out
    for name in ("evaluate", "classify", "discover", "demo", "check", "serve"):
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "chunk-predictions" not in out


def test_an_export_says_what_it_wrote_and_keeps_what_is_there(
    run: Run, copy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "curves.csv"
    arguments = ["export", "curves", "mini", "mini-held-out-60", "--out", str(out), "--limit", "9"]
    code, printed, _ = run(*arguments, "--json")
    exported = only_object(printed)
    assert (code, exported["format"], exported["rows"], exported["file"]) == (0, "csv", 9, str(out))
    assert exported["bytes"] == out.stat().st_size
    assert out.read_text().splitlines()[0] == ",".join(f'"{n}"' for n in exported["columns"])
    assert (exported["metadata"]["unit"], exported["metadata"]["axis"]) == ("nats", "N")
    code, printed, err = run(*arguments, "--json")
    assert (code, printed) == (2, "")
    assert "--force" in err
    assert run(*arguments, "--force")[0] == 0
    code, _, err = run(*arguments[:-3], str(tmp_path / "curves.xlsx"))
    assert code == 2
    assert "parquet, arrow, csv, json" in err


def test_an_export_of_a_search_takes_its_filters(run: Run, copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    code, printed, err = run(
        *("export", "predictions", "--out", str(out), "--cls", "monogenic", "--cls", "polygenic"),
        *("--token-pattern", "^ ", "--drop-min", "1.5", "--sort", "drop", "--order", "desc"),
        *("--limit", "40", "--json"),
    )
    assert code == 0, err
    rows = json.loads(out.read_text())["rows"]
    assert 0 < only_object(printed)["rows"] == len(rows) <= 40
    drops = [row["total_drop"] for row in rows]
    assert drops == sorted(drops, reverse=True)
    assert min(drops) >= 1.5
    assert {row["curve_class"] for row in rows} <= {"monogenic", "polygenic"}
    assert all(row["answer"].startswith(" ") for row in rows)
    sketch = ("--sketch", "1e4:6,1e6:1", "--inv", "level", "--limit", "3", "--force")
    assert run("export", "predictions", "--out", str(out), *sketch)[0] == 0
    distances = [row["distance"] for row in json.loads(out.read_text())["rows"]]
    assert distances == sorted(distances)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--sketch", "1e4"),
        ("--preset", "none"),
        ("--preset", "u", "--like", "3"),
        ("--cls", "none"),
        ("--regex", "("),
        ("--sort", "distance"),
        ("--inv", "time"),
        ("--order", "up"),
        ("--limit", "0"),
        ("--context", "-1"),
    ],
    ids=str,
)
def test_a_search_that_cannot_be_exported_writes_nothing(
    run: Run, copy: Path, tmp_path: Path, wrong: tuple[str, ...]
) -> None:
    out = tmp_path / "found.csv"
    code, printed, err = run("export", "predictions", "--out", str(out), *wrong)
    assert (code, printed) == (2, "")
    assert err
    assert "Traceback" not in err
    assert not out.exists()


@pytest.mark.slow
def test_an_interrupted_command_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    arguments = ("demo", "--documents", "6", "--n-clusters", "2", "--workers", "2")
    process = subprocess.Popen(
        command(*arguments),
        env=environment(tmp_path),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has them ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    log = tmp_path / "quanta.log"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") > 4):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the children too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    resumed = quanta(tmp_path, *arguments, "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["size"] > 2
