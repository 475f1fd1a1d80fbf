"""Rank, entropy and p(target) equal a direct computation, for any batch size."""

import math

import numpy as np
import pytest
import torch

from compute.losses import BatchSizes, _cross_entropy, document_losses
from compute.measures import MAX_RANK, block_measures, document_measures
from tests.factories import VOCABULARY, random_documents, tiny_model

LENGTHS = (0, 1, 2, 17, 40, 40, 3, 64)
TARGET = 7
SMALL = BatchSizes(tokens=50, logits_bytes=4 * VOCABULARY * 16)


def plain(model: object, document: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of one document by the library's own forward pass, in float64."""
    tokens = torch.from_numpy(document)[None]
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[0, :-1].double()  # type: ignore[operator]
    log_p = logits.log_softmax(1)
    actual = log_p.gather(1, tokens[0, 1:, None])[:, 0]
    near = (log_p - actual[:, None]).abs() < 1e-5
    return {
        "loss": -actual.numpy(),
        "rank": ((log_p > actual[:, None]).sum(1) + 1).numpy(),
        "tied": (near.sum(1) > 1).numpy(),
        "entropy": torch.special.entr(log_p.exp()).sum(1).numpy(),
        "target": -log_p[:, TARGET].numpy(),
    }


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("sizes", [None, SMALL])
def test_measures_equal_those_of_transformers(architecture: str, sizes: BatchSizes | None) -> None:
    model = tiny_model(architecture)
    documents = random_documents(LENGTHS)
    measures = document_measures(model, documents, target=TARGET, sizes=sizes)
    parts = [plain(model, d) for d in documents if len(d) > 1]
    expected = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    assert measures.ranks.dtype == np.uint16
    untied = ~expected["tied"]
    assert untied.mean() > 0.9
    np.testing.assert_array_equal(measures.ranks[untied], expected["rank"][untied])
    np.testing.assert_allclose(measures.entropies, expected["entropy"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(measures.losses, expected["loss"], rtol=0, atol=2e-5)
    assert measures.target_losses is not None
    np.testing.assert_allclose(measures.target_losses, expected["target"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("architecture", ["gpt_neox", "gemma2"])
def test_losses_are_equal_with_and_without_measures(architecture: str) -> None:
    model = tiny_model(architecture)
    documents = random_documents(LENGTHS)
    measures = document_measures(model, documents)
    np.testing.assert_allclose(measures.losses, document_losses(model, documents), atol=1e-5)
    assert measures.target_losses is None


def test_equal_logits_share_rank_one_and_have_the_entropy_of_a_fair_draw() -> None:
    values = block_measures(torch.zeros(3, 100), torch.tensor([0, 50, 99]), 5)
    loss, rank, entropy, target = values.tolist()
    assert rank == [1.0] * 3
    for nats in (loss, entropy, target):
        assert nats == pytest.approx([math.log(100)] * 3)


def test_the_order_of_logits_is_the_rank() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]]).expand(4, 4)
    ranks = block_measures(logits, torch.arange(4))[1]
    assert ranks.tolist() == [1, 3, 2, 4]


def test_a_token_of_probability_zero_contributes_nothing_to_the_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [1e4, 0.0, 0.0]])
    loss, rank, entropy = block_measures(logits, torch.tensor([0, 0])).tolist()
    assert entropy == pytest.approx([math.log(2), 0.0])
    assert loss == pytest.approx([math.log(2), 0.0])
    assert rank == [1, 1]


def test_ranks_saturate_where_uint16_ends() -> None:
    logits = torch.arange(70_000, dtype=torch.float32)[None]
    assert block_measures(logits, torch.tensor([0]))[1].item() == MAX_RANK
    assert block_measures(logits, torch.tensor([70_000 - 40_000]))[1].item() == 40_000


def test_a_target_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(ValueError, match="target token 96 is not in the model's 0 … 95"):
        document_measures(tiny_model("gpt_neox"), random_documents([4]), target=96)


def test_weights_that_overflow_are_refused() -> None:
    model = tiny_model("gpt_neox")
    model.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(ValueError, match="prediction 0 has loss nan"):
        document_measures(model, random_documents([4]))


def test_a_document_beyond_learned_positions_is_named() -> None:
    with pytest.raises(ValueError, match="document 1 needs 69 positions, the model has 64"):
        document_measures(tiny_model("gpt2"), random_documents([4, 70]))


def test_a_token_of_probability_one_has_loss_zero_without_a_sign() -> None:
    logits = torch.zeros(4, VOCABULARY)
    logits[:, 3] = 500
    actual_tokens = torch.full((4,), 3)
    measures = block_measures(logits, actual_tokens, 3)
    losses, _, entropies, target = measures.numpy()
    for values in (losses, entropies, target, _cross_entropy(logits, actual_tokens).numpy()):
        assert (values == 0).all()
        assert not np.signbit(values).any()
