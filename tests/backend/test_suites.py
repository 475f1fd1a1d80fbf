"""Suites: every file is checked before anything is registered."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import func, select

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.stages.suites import add_suite
from backend.store.database import Store
from backend.store.tables import Checkpoint, Model, Suite
from tests.stores import small_suite

LAST = Path("models/s1/step2000")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite").mkdir()
    return small_suite(tmp_path / "suite", s1=(64, 2000))


def counts(store: Store) -> list[int | None]:
    with store.session() as session:
        tables = (Suite, Model, Checkpoint)
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def steps(store: Store) -> dict[str, list[int]]:
    with store.session() as session:
        return {m.name: [c.step for c in m.checkpoints] for m in session.scalars(select(Model))}


def poison(folder: Path) -> None:
    path = folder / LAST / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})


def set_vocabulary(folder: Path, size: int) -> None:
    path = folder / LAST / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": size}))


def other_tokenizer(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"]["an extra token"] = 2048
    (folder / LAST / "tokenizer.json").write_text(json.dumps(document))


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / LAST / "config.json").unlink(), r"config\.json is missing"),
    "no weights": (
        lambda f: (f / LAST / "model.safetensors").unlink(),
        r"step2000/model\.safetensors is missing",
    ),
    "NaN": (poison, "step2000.*holds NaN"),
    "smaller vocabulary": (lambda f: set_vocabulary(f, 2000), "vocab_size is 2000, .* 2048"),
    "larger vocabulary": (lambda f: set_vocabulary(f, 50_304), "vocab_size is 50304, .* 2048"),
    "another tokenizer": (other_tokenizer, "step2000/tokenizer.json differs from"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
    "no steps": (lambda f: shutil.rmtree(f / "models" / "s1"), "holds no MODEL/stepS folder"),
    "no folder": (shutil.rmtree, "is not a folder"),
    "facts not JSON": (lambda f: (f / "suite.json").write_text("{"), r"suite\.json is not JSON"),
    "facts no object": (lambda f: (f / "suite.json").write_text("[]"), r"suite\.json is not JSON"),
    "a name that no URL takes": (
        lambda f: (f / "models" / "s1").rename(f / "models" / "s 1"),
        "model name 's 1' is not usable",
    ),
}


@pytest.mark.parametrize(("damage", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_nothing_is_registered_after_a_refusal(
    store: Store, folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(InvalidInputError, match=message):
        add_suite(store, folder, "small", "", Silent())
    assert counts(store) == [0, 0, 0]


def test_steps_and_sizes_are_registered_as_they_lie(store: Store, folder: Path) -> None:
    add_suite(store, folder, "small", "one model", Silent())
    assert steps(store) == {"s1": [64, 2000]}
    batch_tokens = json.loads((folder / "suite.json").read_text())["batch_tokens"]
    with store.session() as session:
        first, last = session.scalars(select(Checkpoint).order_by(Checkpoint.step))
        assert (first.tokens_seen, last.tokens_seen) == (64 * batch_tokens, 2000 * batch_tokens)
        assert first.key != last.key
        tensors = load_file(folder / LAST / "model.safetensors").values()
        assert last.model.parameters == sum(t.numel() for t in tensors)


def test_registering_again_changes_nothing(store: Store, folder: Path) -> None:
    add_suite(store, folder, "small", "", Silent())
    before = counts(store)
    add_suite(store, folder, "small", "", Silent())
    assert counts(store) == before


def test_new_steps_and_models_are_added_to_a_known_suite(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    add_suite(store, folder, "small", "", Silent())
    (tmp_path / "more").mkdir()
    more = small_suite(tmp_path / "more", s1=(500,), s2=(2000,))
    add_suite(store, more, "small", "", Silent())
    assert steps(store) == {"s1": [64, 500, 2000], "s2": [2000]}


def test_a_folder_that_moved_is_found_at_its_new_place(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    add_suite(store, folder, "small", "", Silent())
    moved = folder.rename(tmp_path / "moved")
    add_suite(store, moved, "small", "", Silent())
    with store.session() as session:
        for checkpoint in session.scalars(select(Checkpoint)):
            assert Path(checkpoint.location).is_dir()


def test_other_weights_of_a_known_step_are_refused(store: Store, folder: Path) -> None:
    add_suite(store, folder, "small", "", Silent())
    shutil.copy(folder / "models/s1/step64/model.safetensors", folder / LAST)
    with pytest.raises(InvalidInputError, match="s1 step 2000 is registered with other weights"):
        add_suite(store, folder, "small", "", Silent())


def test_another_tokenizer_is_another_suite(store: Store, folder: Path) -> None:
    add_suite(store, folder, "small", "", Silent())
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InvalidInputError, match="registered with another tokenizer"):
        add_suite(store, folder, "small", "", Silent())
