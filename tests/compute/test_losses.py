"""Per-token losses against transformers run on one document at a time."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compute.checkpoints import load_model
from compute.losses import BatchSizes, document_losses, has_plain_head, length_buckets
from tests.bundled import documents, final_checkpoint
from tests.factories import VOCABULARY, random_documents, tiny_model

TOLERANCE_NATS = 1e-4
ARCHITECTURES = ["gpt_neox", "gpt2", "llama", "gemma2"]

model_of = cache(tiny_model)


@torch.inference_mode()
def reference_losses(model: Any, document: Sequence[int]) -> list[float]:
    """Losses of one document through the model's own forward pass, log-softmax in float32."""
    ids = [int(token) for token in document]
    if len(ids) < 2:
        return []
    logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    answers = torch.tensor(ids[1:])[:, None]
    return (-logits[:-1].log_softmax(-1).gather(1, answers)[:, 0]).tolist()


def all_reference_losses(model: Any, texts: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.array([x for d in texts for x in reference_losses(model, d)], np.float32)


def assert_bundled_model_equals_transformers(name: str, stride: int) -> None:
    model = load_model(final_checkpoint(name), vocabulary_size=2048)
    texts = documents()[::stride]
    losses = document_losses(model, texts)
    expected = all_reference_losses(model, texts)
    assert losses.shape == expected.shape
    assert np.abs(losses - expected).max() <= TOLERANCE_NATS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stride"), [("s1", 1), ("s2", 1), ("s3", 1), ("s4", 4), ("s5", 4)]
)
def test_losses_of_bundled_models_equal_transformers(name: str, stride: int) -> None:
    assert_bundled_model_equals_transformers(name, stride)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["s4", "s5"])
def test_losses_of_the_largest_bundled_models_equal_transformers_on_all_documents(
    name: str,
) -> None:
    assert_bundled_model_equals_transformers(name, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_equal_the_models_own_forward_pass(architecture: str) -> None:
    model = model_of(architecture)
    texts = random_documents([9, 0, 2, 30, 1, 9, 31])
    losses = document_losses(model, texts)
    expected = all_reference_losses(model, texts)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=TOLERANCE_NATS)


@pytest.mark.parametrize(
    ("architecture", "plain"),
    [("gpt_neox", True), ("gpt2", True), ("llama", True), ("gemma2", False)],
)
def test_capped_logits_are_not_a_plain_head(architecture: str, plain: bool) -> None:
    assert has_plain_head(model_of(architecture)) is plain


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 24), max_size=8),
    tokens=st.integers(1, 200),
    logits_bytes=st.sampled_from([1, 16 * 4 * VOCABULARY, 1 << 20]),
    seed=st.integers(0, 2**16),
)
def test_batching_changes_losses_by_rounding_only(
    lengths: list[int], tokens: int, logits_bytes: int, seed: int
) -> None:
    model = model_of("gpt_neox")
    texts = random_documents(lengths, seed)
    losses = document_losses(model, texts, sizes=BatchSizes(tokens, logits_bytes))
    expected = all_reference_losses(model, texts)
    assert losses.shape == (sum(max(n - 1, 0) for n in lengths),)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=TOLERANCE_NATS)


@given(lengths=st.lists(st.integers(1, 50)), limit=st.integers(1, 120))
def test_buckets_hold_every_item_once_within_the_limit(lengths: list[int], limit: int) -> None:
    buckets = list(length_buckets(lengths, limit))
    assert sorted(i for bucket in buckets for i in bucket) == list(range(len(lengths)))
    for bucket in buckets:
        assert len(bucket) == 1 or max(lengths[i] for i in bucket) * len(bucket) <= limit


def test_documents_without_predictions_have_no_losses() -> None:
    assert document_losses(model_of("gpt_neox"), []).shape == (0,)
    assert document_losses(model_of("gpt_neox"), random_documents([0, 1, 1])).shape == (0,)


def test_token_ids_of_any_integer_type_give_the_same_losses() -> None:
    model, texts = model_of("gpt_neox"), random_documents([12, 5])
    expected = document_losses(model, texts)
    for dtype in (np.uint16, np.int32, np.uint32):
        losses = document_losses(model, [d.astype(dtype) for d in texts])
        np.testing.assert_array_equal(losses, expected)


def test_losses_of_a_model_with_nan_weights_are_refused() -> None:
    model = tiny_model("gpt_neox")
    with torch.no_grad():
        model.base_model.layers[1].mlp.dense_4h_to_h.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="loss 0 is nan"):
        document_losses(model, random_documents([4]))


def test_losses_use_float32_for_every_stored_dtype(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model, texts = tiny_model("gpt_neox").half(), random_documents([20, 20])
    folder = tmp_path_factory.mktemp("half")
    model.save_pretrained(folder)
    loaded = load_model(folder, vocabulary_size=VOCABULARY)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    losses = document_losses(loaded, texts)
    expected = all_reference_losses(model.float(), texts)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=TOLERANCE_NATS)


def test_losses_are_never_negative() -> None:
    model = tiny_model("gpt_neox")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(200)  # certain of every token
    texts = random_documents([40] * 20)
    losses = document_losses(model, texts)
    assert losses.min() >= 0
    assert losses.dtype == np.float32


def test_a_document_longer_than_learned_positions_is_refused() -> None:
    model = model_of("gpt2")  # 64 positions
    assert document_losses(model, random_documents([65])).shape == (64,)
    with pytest.raises(ValueError, match="document 1 needs 65 positions, the model has 64"):
        document_losses(model, random_documents([3, 66]))


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_rotary_positions_have_no_maximum_length(architecture: str) -> None:
    assert document_losses(model_of(architecture), random_documents([70])).shape == (69,)
