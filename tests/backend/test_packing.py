"""`quanta suite pack`: what of a trained suite is shared, and what training saw of its text."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.training import packing, run, sources
from backend.training.recipe import read_recipe
from tests.recipes import archive_of, recipe_file, registry, text_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_files(tmp_path_factory.mktemp("text"))


def trained_folder(root: Path, text: Path) -> Path:
    """What training leaves: prepared text, and folders of steps whose weights are not read here."""
    recipe_path = recipe_file(root, text)
    out = root / "trained"
    report = run.prepare(read_recipe(recipe_path), out, root, Silent())
    (out / "recipe.toml").write_bytes(recipe_path.read_bytes())
    for model in "abc":
        for step in (0, 1, 2, 3, 6):
            (out / "models" / model / f"step{step}").mkdir(parents=True)
            (out / "models" / model / f"step{step}" / "config.json").write_text(f"{model}{step}")
        (out / "models" / model / "state.safetensors").write_bytes(b"state")
    models = [{"name": name} for name in "abc"]
    facts = {"models": models, "corpus": report}
    (out / "suite.json").write_text(json.dumps(facts), encoding="utf-8")
    return out


def test_a_packed_suite_has_the_chosen_steps_and_says_what_training_saw(
    folder: Path, tmp_path: Path
) -> None:
    trained = trained_folder(tmp_path, folder)
    keep = {"a": "all", "b": "0,2"}
    facts = packing.pack(trained, tmp_path / "packed", keep, tmp_path, Silent())
    retained = {
        m: sorted(p.name for p in (tmp_path / "packed" / "models" / m).iterdir()) for m in "abc"
    }
    assert retained == {
        "a": ["step0", "step1", "step2", "step3", "step6"],
        "b": ["step0", "step2", "step6"],
        "c": ["step6"],
    }
    assert [m["steps"] for m in facts["models"]] == [[0, 1, 2, 3, 6], [0, 2, 6], [6]]
    # Counted again, passage by passage, with plain tuples.
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    lines = (trained / "documents.jsonl").read_text(encoding="utf-8").strip().split("\n")
    ids = [tokenizer.encode(json.loads(line)["text"]).ids for line in lines]
    size = packing.PASSAGE_TOKENS
    passages = [[tuple(i[k : k + size]) for k in range(len(i) - size + 1)] for i in ids]
    training = {
        tuple(row[k : k + size])
        for row in np.load(trained / "windows.npy").tolist()
        for k in range(len(row) - size + 1)
    }
    result = facts["held_out"]
    assert result["windows"] == len(lines)
    assert result["passages"] == sum(map(len, passages)) > 0
    assert result["passages_in_training"] == sum(p in training for w in passages for p in w)
    assert result["windows_wholly_in_training"] == 0
    table = (tmp_path / "packed" / "SOURCES.md").read_text(encoding="utf-8")
    assert f"| {len(lines)} | see file |" in table


def test_a_passage_of_the_training_text_is_recognised(folder: Path, tmp_path: Path) -> None:
    trained = trained_folder(tmp_path, folder)
    windows_ = np.load(trained / "windows.npy")
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    texts = [tokenizer.decode(row.tolist(), skip_special_tokens=False) for row in windows_[:40]]
    # Text that is tokenised alone as it was inside its document.
    exact = [
        t for t, row in zip(texts, windows_, strict=False) if tokenizer.encode(t).ids == [*row]
    ]
    assert exact
    with (trained / "documents.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"source": "text", "text": exact[0]}) + "\n")
    assert packing.passages_in_training(trained)[-1].all()


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"d": "all"}, "no model 'd'.*Choose from a, b, c"),
        ({"a": "0,5"}, "no step '5'.*Choose from 0, 1, 2, 3, 6"),
    ],
)
def test_packing_names_an_unknown_model_or_step(
    keep: dict[str, str], said: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        packing.pack(trained_folder(tmp_path, folder), tmp_path / "p", keep, tmp_path, Silent())
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("has_licence", [True, False])
def test_licences_of_a_package_are_copied_or_missed(
    has_licence: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    licence = {"LICENSE.txt": b"Be kind."} if has_licence else {}
    archive = archive_of({"docs/a.txt": b"some text", **licence})
    sha256 = hashlib.sha256(archive).hexdigest()
    path = recipe_file(tmp_path, tmp_path)
    package = f'kind = "pypi"\nversion = "1.0"\nfile = "pkg-1.0.tar.gz"\nsha256 = "{sha256}"'
    path.write_text(
        path.read_text()
        .replace('kind = "folder"', package)
        .replace(f'package = "{tmp_path}"', 'package = "pkg"')
    )
    recipe, out = read_recipe(path), tmp_path / "out"
    (tmp_path / "documents.jsonl").write_text('{"source": "text"}\n')
    out.mkdir()
    with registry(archive) as url:
        monkeypatch.setattr(sources, "PYPI", f"{url}/simple")
        if not has_licence:
            with pytest.raises(InvalidInputError, match=r"pkg 1\.0 has no licence file"):
                packing.write_licences(recipe, tmp_path, out, tmp_path, Silent())
            return
        packing.write_licences(recipe, tmp_path, out, tmp_path, Silent())
    assert (out / "licenses" / "pkg.txt").read_text() == "Be kind.\n"
    table = (out / "SOURCES.md").read_text()
    assert "| text | pkg 1.0 (pypi) | prose | 1 | see file | `pkg.txt` |" in table
