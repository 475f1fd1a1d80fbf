"""The catalogue: published names, sizes and steps."""

import json
from pathlib import Path

import pytest

from backend.errors import InvalidInputError
from backend.weights import catalogue
from compute.checkpoints import parameter_counts_from_config

# Hidden units, layers, heads, rows of the embeddings: the models' config.json.
SHAPES = {
    "70m": (512, 6, 8, 50_304),
    "160m": (768, 12, 12, 50_304),
    "410m": (1024, 24, 16, 50_304),
    "1b": (2048, 16, 8, 50_304),
    "1.4b": (2048, 24, 16, 50_304),
    "2.8b": (2560, 32, 32, 50_304),
    "6.9b": (4096, 32, 32, 50_432),
    "12b": (5120, 36, 40, 50_688),
}


@pytest.mark.parametrize("size", SHAPES)
def test_published_sizes_are_those_of_the_configurations(size: str, tmp_path: Path) -> None:
    hidden, layers, heads, rows = SHAPES[size]
    config = {
        "model_type": "gpt_neox",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": rows,
        "tie_word_embeddings": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    counts = parameter_counts_from_config(tmp_path)
    assert (counts.total, counts.nonembedding) == catalogue.PUBLISHED[size]


def test_steps_are_those_published() -> None:
    assert len(catalogue.FAMILIES["pythia"].steps) == 154
    assert catalogue.FAMILIES["pythia"].steps[:12] == (*catalogue.EARLY_STEPS, 1000)
    assert catalogue.FAMILIES["pythia-v0"].steps == tuple(range(1000, 143_001, 1000))


@pytest.mark.parametrize(
    ("family", "size", "repository"),
    [
        ("pythia", "1.4b", "EleutherAI/pythia-1.4b"),
        ("pythia-deduped", "70m", "EleutherAI/pythia-70m-deduped"),
        ("pythia-v0", "12b", "EleutherAI/pythia-12b-v0"),
        ("pythia-v0", "19m", "EleutherAI/pythia-70m-v0"),
        ("pythia-seed3", "410m", "EleutherAI/pythia-410m-seed3"),
    ],
)
def test_repositories_are_named_as_on_the_hub(family: str, size: str, repository: str) -> None:
    (model,) = catalogue.FAMILIES[family].select_models([size])
    assert model.repository == repository
    assert catalogue.FAMILIES[family].select_models([model.name]) == (model,)


def test_seeds_are_a_suite_each() -> None:
    names = [family.name for family in catalogue.find_families("pythia-seeds")]
    assert names == [f"pythia-seed{k}" for k in range(1, 10)]


def test_every_name_is_unique_and_known_in_messages() -> None:
    models = [m.repository for f in catalogue.FAMILIES.values() for m in f.models]
    assert len(set(models)) == len(models) == 10 + 10 + 8 + 8 + 9 * 5
    assert "pythia-deduped-v0" in catalogue.describe_names()
    assert "pythia-seeds" in catalogue.describe_names()


@pytest.mark.parametrize(("family", "size"), [("pythia", "19m"), ("pythia-seed1", "12b")])
def test_a_model_that_the_family_lacks_is_refused(family: str, size: str) -> None:
    with pytest.raises(InvalidInputError, match=f"suite {family} has no model '{size}'"):
        catalogue.FAMILIES[family].select_models([size])
