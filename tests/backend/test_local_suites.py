"""Local folders of any supported architecture and layout, from registration to clusters."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from backend.errors import InvalidInputError
from backend.progress import Silent
from backend.schemas.discover import DiscoverParameters
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.discover import discover
from backend.stages.evaluate import evaluate
from backend.stages.suites import add_suite
from backend.store.database import Store
from backend.store.lookup import checkpoint_at, model_named, suite_named
from backend.store.tables import Checkpoint, Discovery, Model, Suite
from tests.factories import tiny_model
from tests.hub import tokenizer_json
from tests.stores import ONE_CORE

ARCHITECTURES = ("gpt_neox", "gpt2", "llama")
# Of the factory's models, two layers of width 16: weights and biases of linear maps alone.
ATTENTION_AND_MLP = {
    "gpt_neox": 2 * (16 * 48 + 48 + 16 * 16 + 16 + 16 * 32 + 32 + 32 * 16 + 16),
    "gpt2": 2 * (16 * 48 + 48 + 16 * 16 + 16 + 16 * 64 + 64 + 64 * 16 + 16),
    "llama": 2 * (16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32),
}


def suite_folder(folder: Path, *models: str) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(models):
        tiny_model(name.partition("-")[0], seed=seed).save_pretrained(folder / name)
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    return folder


def checkpoints(store: Store) -> dict[str, tuple[int, int | None]]:
    with store.session() as session:
        rows = session.scalars(select(Checkpoint).join(Model))
        return {c.model.name: (c.step, c.tokens_seen) for c in rows}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_goes_from_folder_to_clusters(
    store: Store, tmp_path: Path, architecture: str
) -> None:
    add_suite(store, suite_folder(tmp_path / "mine", architecture), "mine", "", Silent())
    texts = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": f"text {i} " + "a quick brown fox. " * 2}) for i in range(6)]
    texts.write_text("\n".join(lines))
    tokenizer = tmp_path / "mine" / "tokenizer.json"
    spec = CorpusSpec(name="t", files=[texts], tokenizer=tokenizer, max_tokens=48)
    corpus = add_corpus(store, spec, Silent())
    with store.session() as session:
        checkpoint = checkpoint_at(model_named(suite_named(session, "mine"), architecture), None)
    evaluate(store, corpus, [checkpoint.id], ONE_CORE, Silent())
    params = DiscoverParameters(
        suite="mine",
        corpus="t",
        model=architecture,
        max_loss_nats=30,
        induction_filter=False,
        limit=24,
        n_clusters=[3],
    )
    discovery_id = discover(store, params, ONE_CORE, Silent())
    with store.session() as session:
        row = session.get_one(Discovery, discovery_id)
        about = row.similarity.parameters
        assert row.similarity.size == 24
        assert [c.n_clusters for c in row.clusterings] == [3]
    assert about["n_parameters"] == ATTENTION_AND_MLP[architecture]
    for name in about["parameter_names"]:
        assert not any(word in name for word in ("embed", "wte", "wpe", "norm", "ln_")), name


def test_models_without_step_folders_are_one_checkpoint_each(store: Store, tmp_path: Path) -> None:
    folder = suite_folder(tmp_path / "mine", "gpt_neox", "gpt_neox-large")
    add_suite(store, folder, "mine", "", Silent())
    assert checkpoints(store) == {"gpt_neox": (0, None), "gpt_neox-large": (0, None)}


def test_the_suites_file_gives_their_steps(store: Store, tmp_path: Path) -> None:
    folder = suite_folder(tmp_path / "mine", "gpt_neox", "gpt_neox-large")
    facts = {"steps": {"gpt_neox": 500, "gpt_neox-large": "many"}, "batch_tokens": 10}
    (folder / "suite.json").write_text(json.dumps(facts))
    add_suite(store, folder, "mine", "", Silent())
    assert checkpoints(store) == {"gpt_neox": (500, 5000), "gpt_neox-large": (0, None)}


def test_the_folder_of_one_model_is_a_suite_of_one(store: Store, tmp_path: Path) -> None:
    folder = suite_folder(tmp_path / "mine", "gpt2") / "gpt2"
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    add_suite(store, folder, "one", "", Silent())
    assert checkpoints(store) == {"gpt2": (0, None)}


def test_a_trainers_checkpoint_folders_are_steps(store: Store, tmp_path: Path) -> None:
    folder = suite_folder(tmp_path / "mine", "gpt2")
    (folder / "gpt2").rename(folder / "moved")
    (folder / "gpt2").mkdir()
    (folder / "moved").rename(folder / "gpt2" / "checkpoint-250")
    add_suite(store, folder, "mine", "", Silent())
    assert checkpoints(store) == {"gpt2": (250, None)}


def test_models_of_two_sizes_cannot_share_a_name(store: Store, tmp_path: Path) -> None:
    folder = suite_folder(tmp_path / "mine", "gpt_neox", "gpt2")
    (folder / "both").mkdir()
    (folder / "gpt_neox").rename(folder / "both" / "step1")
    (folder / "gpt2").rename(folder / "both" / "step2")
    with pytest.raises(InvalidInputError, match="both step 2 has N = "):
        add_suite(store, folder, "mine", "", Silent())
    with store.session() as session:
        assert session.scalars(select(Suite)).all() == []
