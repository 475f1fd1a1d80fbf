"""Requirements of the bundled suite: losses scale with size, on held-out text."""

import json
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from compute.checkpoints import load_model, parameter_counts_from_config, read_config
from compute.losses import document_losses
from compute.power_law import fit_power_law
from tests.bundled import BUNDLED, documents, final_checkpoint

MODELS = ("s1", "s2", "s3", "s4", "s5")


@cache
def sizes() -> NDArray[np.float64]:
    folders = [final_checkpoint(name) for name in MODELS]
    assert all(read_config(folder)["tie_word_embeddings"] for folder in folders)
    return np.array(
        [parameter_counts_from_config(folder).nonembedding for folder in folders], float
    )


def held_out_lines() -> list[dict[str, str]]:
    lines = (BUNDLED / "documents.jsonl").read_text(encoding="utf-8").strip().split("\n")
    return [json.loads(line) for line in lines]


@cache
def losses(model: str) -> list[NDArray[np.float32]]:
    """Losses of every fourth document."""
    texts = documents()[::4]
    losses = document_losses(load_model(final_checkpoint(model), vocabulary_size=2048), texts)
    return np.split(losses, np.cumsum([len(d) - 1 for d in texts])[:-1])


def test_sizes_cover_two_decades_and_layers_outweigh_the_vocabulary() -> None:
    assert np.log10(sizes()[-1] / sizes()[0]) >= 1.9
    totals = [parameter_counts_from_config(final_checkpoint(name)).total for name in MODELS]
    assert (sizes()[2:] > 0.5 * np.array(totals[2:])).all()


def test_the_bundle_is_small_and_every_source_has_its_licence() -> None:
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60e6
    table = (BUNDLED / "SOURCES.md").read_text(encoding="utf-8")
    facts = json.loads((BUNDLED / "suite.json").read_text(encoding="utf-8"))
    names = {line["source"] for line in held_out_lines()}
    assert names <= {source["name"] for source in facts["sources"]}
    for source in facts["sources"]:
        assert f"| {source['name']} |" in table
        assert (BUNDLED / "licenses" / f"{source['package']}.txt").stat().st_size > 200
        assert "GPL" not in source["license"]


def test_no_held_out_window_was_trained_on() -> None:
    held_out = json.loads((BUNDLED / "suite.json").read_text(encoding="utf-8"))["held_out"]
    assert held_out["windows"] == len(documents())
    assert held_out["windows_wholly_in_training"] == 0
    assert held_out["passages_in_training"] <= 0.01 * held_out["passages"]


@pytest.mark.slow
def test_larger_models_are_better_on_held_out_text() -> None:
    means = [np.concatenate(losses(name)).mean(dtype=np.float64) for name in MODELS]
    assert (np.diff(means) < 0).all(), means
    learned = [(np.concatenate(losses(name)) < 0.1).mean() for name in MODELS]
    assert (np.diff(learned) > 0).all(), learned


@pytest.mark.slow
def test_the_mean_loss_falls_as_a_power_of_size() -> None:
    counts = np.array([len(part) for part in losses("s1")])
    by_document = np.array([[part.mean() for part in losses(name)] for name in MODELS]).T
    means = counts @ by_document / counts.sum()
    fit = fit_power_law(
        sizes(), means, y_by_unit=by_document.astype(np.float64), weights=counts, n_bootstrap=300
    )
    slope = np.polyfit(np.log(sizes()), np.log(means), 1)[0]
    assert fit.exponent == pytest.approx(-slope, rel=1e-9)
    assert 0 < fit.interval[0] < fit.exponent < fit.interval[1]
    assert fit.r_squared > 0.9


def newline_probability(model: str) -> tuple[float, float]:
    """p(a token that begins a new line) inside lines of width-limited novels, and near their end.

    Lines of these novels end between columns 66 and 76; columns 8 to 48 are inside.
    """
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    texts = [line["text"] for line in held_out_lines() if line["source"] == "austen"][:30]
    newlines = [i for i in range(2048) if tokenizer.decode([i]).startswith("\n")]
    loaded = load_model(final_checkpoint(model), vocabulary_size=2048)
    inside, near = [], []
    for text in texts:
        encoding = tokenizer.encode(text)
        ids, ends = encoding.ids[:255], [end for _, end in encoding.offsets[:255]]
        with torch.inference_mode():
            logits = loaded(input_ids=torch.tensor([[0, *ids]])).logits[0, 1:]
        p = logits.float().softmax(1)[:, newlines].sum(1).tolist()
        for end, value in zip(ends, p, strict=True):
            start = text.rfind("\n", 0, end) + 1
            if start == 0:
                continue  # where the first line began is not in the window
            column = end - start
            if 8 <= column < 48:
                inside.append(value)
            elif 66 <= column < 80:
                near.append(value)
    return float(np.mean(inside)), float(np.mean(near))


@pytest.mark.slow
def test_larger_models_know_the_width_of_the_text() -> None:
    """The known example of a quantum: a newline where the width of the text is reached."""
    (s1_inside, s1_near), (s5_inside, s5_near) = map(newline_probability, ("s1", "s5"))
    assert s5_near > 20 * s5_inside
    assert s1_near < 4 * s1_inside
    assert s5_near > 3 * s1_near
