"""`quanta suite train`: from a recipe to a registered suite, without a network."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tokenizers import Tokenizer

from backend.errors import InvalidInputError
from backend.stages.demo import N_DOCUMENTS
from backend.training import cleaning, run, sources, windows
from backend.training.recipe import Data, read_recipe
from backend.training.sources import SourceFile, iter_source_files
from tests.recipes import TEXTS, archive_of, recipe_file, registry, source, text_files
from tests.stores import BUNDLED


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_files(tmp_path_factory.mktemp("text"))


def quanta(*words: str, data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend.cli", *words],
        env={**os.environ, "QUANTA_DATA_DIR": str(data), "QUANTA_DEVICE": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gone(process: psutil.Process) -> bool:
    try:
        process.wait(timeout=30)
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.mark.slow
def test_a_killed_training_resumes_and_the_suite_can_be_evaluated(
    folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_file(tmp_path, folder, steps=100)
    out = tmp_path / "data" / "suites" / "tiny"
    first = quanta("suite", "train", str(recipe), "--workers", "2", data=tmp_path / "data")
    deadline = time.monotonic() + 120
    while not list(out.glob("models/*/step3")) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    started = psutil.Process(first.pid).children(recursive=True)
    assert started
    first.send_signal(signal.SIGKILL)
    first.communicate()
    orphans = [child for child in started if not gone(child)]
    assert not orphans, "trainers outlive the command that started them"
    done = quanta("suite", "train", str(recipe), "--json", data=tmp_path / "data")
    printed, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert json.loads(printed)["suite"] == "tiny"
    for model in "abc":
        log = (out / "models" / model / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in log] == list(range(1, 101))
    listed = quanta("suite", "list", "--json", data=tmp_path / "data").communicate()[0]
    (suite,) = json.loads(listed)["suites"]
    assert suite["models"]["b"][:4] == [0, 1, 2, 3]
    corpus = [
        *("corpus", "add", str(out / "documents.jsonl"), "--name", "out", "--json"),
        *("--tokenizer", str(out / "tokenizer.json"), "--max-tokens", "32", "--prefix", "0"),
    ]
    assert json.loads(quanta(*corpus, data=tmp_path / "data").communicate()[0])["documents"] == 20
    evaluated = quanta(
        "evaluate", "tiny", "out", "--model", "c", "--json", data=tmp_path / "data"
    ).communicate()[0]
    losses = [e["mean_loss_nats"] for e in json.loads(evaluated)["evaluations"]]
    assert losses[0] == pytest.approx(np.log(400), abs=0.2)
    assert losses[-1] < losses[0] - 1


def test_held_out_windows_never_occur_in_training(folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file(tmp_path, folder))
    retained = cleaning.drop_near_duplicates(
        cleaning.clean_documents(list(iter_source_files(recipe.source[0], tmp_path))), 0.7
    )
    parts = windows.split(retained, recipe.data)
    out = windows.held_out_windows(parts, recipe.data)
    training = "\n\n".join(document.text for document in parts.training)
    assert len(out) == 20
    assert {d.id for d in parts.training}.isdisjoint(d.id for d in parts.held_out)
    for window in out:
        assert window["text"] not in training
        # An independent, slower look, by plain search.
        line, flat = " ".join(window["text"].split()), " ".join(training.split())
        spans = [line[at : at + 60] for at in range(0, len(line) - 60, 7) if line[at - 1] == " "]
        assert sum(span in flat for span in spans) <= max(1, 0.5 * len(spans)), window["id"]


def test_a_window_met_in_training_is_left_out() -> None:
    words = [f"word{i}" for i in range(4000)]
    shared = source()
    long = cleaning.CleanDocument("text/a#0.0", shared, "\n".join(words))
    copy = cleaning.CleanDocument("text/b#0.0", shared, "\n".join(words[1000:2000]))
    shares = windows.training_overlap(
        [copy], [" ".join(words[1100:1300]), " ".join(words[3000:3200])]
    )
    assert shares.tolist() == [1.0, 0.0]
    data = Data(vocabulary_size=400, context=32, held_out_windows=500)
    result = windows.held_out_windows(windows.Split([copy], [long]), data)
    assert result
    assert not any("word1500\n" in window["text"] for window in result)


def test_near_duplicates_go_and_the_first_stays() -> None:
    rng = np.random.default_rng(0)
    words = rng.choice([f"w{i}" for i in range(500)], 600).tolist()
    nearly = [*words[:300], "changed", *words[301:]]
    other = rng.choice([f"w{i}" for i in range(500)], 600).tolist()
    texts = [" ".join(w) for w in (words, nearly, other, words)]
    documents = [cleaning.CleanDocument(str(i), source(), t) for i, t in enumerate(texts)]
    assert [d.id for d in cleaning.drop_near_duplicates(documents, 0.7)] == ["0", "2"]


def test_notices_and_frames_are_stripped() -> None:
    code = "# Copyright 2020 Someone\n# All rights reserved.\n\nimport os\n\nprint(os)\n"
    assert cleaning.strip_notice(code) == "import os\n\nprint(os)\n"
    retained = "# How to use it\nimport os\n"
    assert cleaning.strip_notice(retained) == retained
    page = "<!DOCTYPE html><head><title>x</title></head>\n<div>Home | Index</div>\n<p>{}</p>\n"
    html = source(format="html", category="markup")
    files = [
        SourceFile(html, f"{i}.html", page.format(f"text number {i} " * 40)) for i in range(20)
    ]
    documents = cleaning.clean_documents(files)
    assert len(documents) == 20
    assert all("Home | Index" not in d.text and "<title>" not in d.text for d in documents)
    assert "text number 7 " in documents[7].text


def test_every_training_window_begins_with_end_of_text_and_holds_the_text(
    folder: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(recipe_file(tmp_path, folder))
    documents = cleaning.clean_documents(list(iter_source_files(recipe.source[0], tmp_path)))
    tokenizer = windows.train_tokenizer(documents, recipe.data)
    result = windows.write_training_windows(documents, tokenizer, recipe.data, tmp_path / "w.npy")
    assert (result[:, 0] == 0).all()
    text = tokenizer.decode(result[:, 1:].ravel().tolist(), skip_special_tokens=False)
    for document in documents[:20]:
        assert document.text[:200] in text or document.text[-200:] in text
    assert np.array_equal(np.load(tmp_path / "w.npy"), result)
    repeated = windows.train_tokenizer(documents, recipe.data)
    assert Tokenizer.to_str(repeated) == Tokenizer.to_str(tokenizer)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 6", "steps = 0", "training.steps"),
        ('kind = "folder"', 'kind = "torrent"', "source.0.kind"),
        ("[training]", "[training]\nspeed = 3", "training.speed"),
        ("heads = 2", "heads = 5", "not a multiple"),
        ('name = "b"', 'name = "a"', "named twice"),
        ("[data]", "[data", "is not TOML"),
    ],
)
def test_a_bad_recipe_names_its_field(
    old: str, new: str, said: str, folder: Path, tmp_path: Path
) -> None:
    path = recipe_file(tmp_path, folder)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=said):
        read_recipe(path)


def test_the_bundled_recipe_is_valid_and_states_licences() -> None:
    recipe = read_recipe(Path(BUNDLED).parent / "recipes" / "bundled.toml")
    assert {s.category for s in recipe.source} == {"prose", "code", "markup", "tables"}
    assert all(s.sha256 and s.license for s in recipe.source)
    assert not any("GPL" in s.license for s in recipe.source)


def test_the_bundled_suite_is_the_recipe_s() -> None:
    recipe = read_recipe(Path(BUNDLED).parent / "recipes" / "bundled.toml")
    facts = json.loads((Path(BUNDLED) / "suite.json").read_text(encoding="utf-8"))
    assert facts["training"] == recipe.training.model_dump()
    sizes = [{k: v for k, v in m.items() if k != "steps"} for m in facts["models"]]
    assert sizes == [m.model_dump() for m in recipe.model]
    assert len(TEXTS.read_text(encoding="utf-8").strip().split("\n")) == N_DOCUMENTS


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "a"', 'name = "../../a"', "model.0.name"),
        ('name = "tiny"', 'name = "my suite"', "name"),
        ('kind = "folder"', 'kind = "npm"', "needs its sha256"),
        ('kind = "folder"', 'kind = "folder"\nfile = "../x"', "file"),
    ],
)
def test_names_that_would_be_paths_and_packages_without_a_hash_are_refused(
    old: str, new: str, said: str, folder: Path, tmp_path: Path
) -> None:
    path = recipe_file(tmp_path, folder)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=said):
        read_recipe(path)


def test_weights_of_another_schedule_are_not_resumed(folder: Path, tmp_path: Path) -> None:
    path = recipe_file(tmp_path, folder)
    recipe = read_recipe(path)
    for size in recipe.model:
        run.claim_folder(recipe, size, tmp_path / "models" / size.name)
        run.claim_folder(recipe, size, tmp_path / "models" / size.name)
    path.write_text(path.read_text().replace("steps = 6", "steps = 7"))
    changed = read_recipe(path)
    with pytest.raises(InvalidInputError, match="trained with steps 6, the recipe says 7"):
        run.claim_folder(changed, changed.model[0], tmp_path / "models" / "a")


def test_text_that_unfolds_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MEMBER_LIMIT", 1000)
    assert sources._decompress(gzip.compress(b"a" * 999))[0] == b"a" * 999
    for data in (gzip.compress(b"a" * 5000), gzip.compress(b"a" * 500)[:-9], b"no stream"):
        with pytest.raises(InvalidInputError, match="compressed text"):
            sources._decompress(data)


def test_packages_are_fetched_once_by_name_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of({"docs/a/b.txt": b"deep", "docs/c.txt": b"flat", "setup.py": b"no"})
    expected = source(
        kind="pypi",
        package="pkg",
        file="pkg-1.0.tar.gz",
        include=("docs/**/*.txt",),
        exclude=("docs/c.*",),
        sha256=hashlib.sha256(archive).hexdigest(),
    )
    with registry(archive) as url:
        monkeypatch.setattr(sources, "PYPI", f"{url}/simple")
        result = list(iter_source_files(expected, tmp_path))
        wrong = expected.model_copy(update={"sha256": "0" * 64})
        with pytest.raises(InvalidInputError, match="sha256"):
            list(iter_source_files(wrong, tmp_path / "other"))
        assert not list((tmp_path / "other").glob("*.tar.gz"))
    assert [(f.path, f.text) for f in result] == [("pkg-1.0/docs/a/b.txt", "deep")]
    assert [f.text for f in iter_source_files(expected, tmp_path)] == [
        "deep"
    ]  # without the registry
