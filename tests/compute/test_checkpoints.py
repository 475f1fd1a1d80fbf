"""Unusable checkpoint folders are rejected by name; parameter counts are as published."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compute.checkpoints import (
    CheckpointError,
    check_weights,
    load_model,
    parameter_counts,
    parameter_counts_from_config,
    read_config,
    weight_files,
)
from tests.factories import VOCABULARY, tiny_model

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model("gpt_neox").save_pretrained(tmp_path / "step8")
    return tmp_path / "step8"


def changed_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def changed_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def sharded(folder: Path, *names: object) -> None:
    """Replace the one weight file by an index that names `names`."""
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    weights = {f"tensor{i}": name for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def truncate(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


DENSE = "gpt_neox.layers.1.attention.dense.weight"

UNUSABLE: dict[str, tuple[Damage, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json is not JSON"),
    "config not UTF-8": (
        lambda f: (f / "config.json").write_bytes(b"\xff"),
        r"config\.json is not JSON",
    ),
    "config no object": (lambda f: (f / "config.json").write_text("[1]"), "holds list"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        r"model\.safetensors is missing",
    ),
    "cut short": (
        lambda f: truncate(f / "model.safetensors", 0.7),
        r"model\.safetensors cannot be read",
    ),
    "empty": (lambda f: truncate(f / "model.safetensors", 0), r"model\.safetensors cannot be read"),
    "a pickle": (
        lambda f: torch.save({"a": torch.ones(1)}, f / "model.safetensors"),
        r"model\.safetensors cannot be read",
    ),
    "NaN": (
        lambda f: changed_weights(f, lambda t: t[DENSE].__setitem__((0, 0), torch.nan)),
        rf"model\.safetensors: tensor {DENSE} holds NaN",
    ),
    "infinity": (
        lambda f: changed_weights(f, lambda t: t[DENSE].__setitem__((0, 0), -torch.inf)),
        rf"{DENSE} holds NaN or infinity",
    ),
    "a tensor lacks": (lambda f: changed_weights(f, lambda t: t.pop(DENSE)), rf"lack.*{DENSE}"),
    "another width": (lambda f: changed_config(f, hidden_size=32), "different models"),
    "more layers": (lambda f: changed_config(f, num_hidden_layers=3), "different models"),
    "another family": (lambda f: changed_config(f, model_type="llama"), "different models"),
    "unknown family": (lambda f: changed_config(f, model_type="nothing"), "cannot be loaded"),
    "no vocabulary": (lambda f: changed_config(f, vocab_size=None), "vocab_size None"),
    "smaller vocabulary": (
        lambda f: changed_config(f, vocab_size=VOCABULARY - 1),
        f"vocab_size {VOCABULARY - 1}.*tokenizer {VOCABULARY}",
    ),
    "index of nothing": (lambda f: sharded(f, "model-1.safetensors"), "model-1.safetensors"),
    "index that leads out": (
        lambda f: sharded(f, "../outside.safetensors"),
        r"\.\./outside\.safetensors, named by",
    ),
    "index of no names": (lambda f: sharded(f, 7), "is not an index of weights"),
    "index of lists": (lambda f: sharded(f, ["a"]), "is not an index of weights"),
    "index no object": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text("[]"),
        ),
        "is not an index of weights",
    ),
}


@pytest.mark.parametrize(("damage", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_folder_is_rejected_by_name(folder: Path, damage: Damage, message: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(folder, vocabulary_size=VOCABULARY)
    assert "step8" in str(caught.value)


def test_a_pickle_beside_the_config_is_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_model(folder, vocabulary_size=VOCABULARY)


def test_weights_survive_loading(folder: Path) -> None:
    model = tiny_model("gpt_neox")
    loaded = load_model(folder, vocabulary_size=VOCABULARY - 6)  # a padded vocabulary is fine
    expected = dict(model.named_parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, expected[name])
        assert not parameter.requires_grad
    assert not loaded.training


def test_shards_load_as_one_file(folder: Path) -> None:
    model = tiny_model("gpt_neox")
    model.save_pretrained(folder, max_shard_size="8KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(weight_files(folder)) > 1
    check_weights(folder)
    loaded = load_model(folder, vocabulary_size=VOCABULARY)
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, dict(model.named_parameters())[name])


PYTHIA = {
    "70m": (512, 6, 8, 2048, 50_304, 18_915_328),
    "160m": (768, 12, 12, 3072, 50_304, 85_056_000),
    "410m": (1024, 24, 16, 4096, 50_304, 302_311_424),
    "1b": (2048, 16, 8, 8192, 50_304, 805_736_448),
    "1.4b": (2048, 24, 16, 8192, 50_304, 1_208_602_624),
    "2.8b": (2560, 32, 32, 10_240, 50_304, 2_517_652_480),
}


@pytest.mark.parametrize("size", PYTHIA)
def test_parameter_counts_equal_those_published_for_pythia(size: str, tmp_path: Path) -> None:
    hidden, layers, heads, inner, vocabulary, published = PYTHIA[size]
    config = {
        "model_type": "gpt_neox",
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    counts = parameter_counts_from_config(tmp_path)
    assert counts.nonembedding == published
    assert counts.total == published + 2 * vocabulary * hidden


def test_tied_embeddings_count_once() -> None:
    counts = parameter_counts(tiny_model("gpt2"))
    assert counts.total - counts.nonembedding == VOCABULARY * 16


@pytest.mark.parametrize(
    "changes", [{"model_type": "nothing"}, {"model_type": "t5"}, {"hidden_size": "sixteen"}]
)
def test_a_config_without_a_causal_model_is_rejected(folder: Path, changes: dict[str, Any]) -> None:
    changed_config(folder, **changes)
    with pytest.raises(CheckpointError, match=r"step8.*config\.json"):
        parameter_counts_from_config(folder)


def test_config_values_survive_reading(folder: Path) -> None:
    assert read_config(folder)["hidden_size"] == 16
