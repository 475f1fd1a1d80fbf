"""Gradients of single predictions against torch.autograd, one prediction at a time."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compute.checkpoints import load_model
from compute.gradients import linear_blocks, prediction_contexts, prediction_gradients
from compute.losses import document_losses
from tests.bundled import documents, final_checkpoint
from tests.compute.cosine_matrix import cosine_matrix
from tests.factories import VOCABULARY, random_documents, tiny_model

TOLERANCE = 1e-5
ARCHITECTURES = ["gpt_neox", "gpt2", "llama"]

model_of = cache(tiny_model)


def covered_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters of a model but those of norms and of token or position embeddings."""
    head = model.get_output_embeddings()
    left_out = {
        id(p)
        for module in model.modules()
        if isinstance(module, nn.Embedding) or "norm" in type(module).__name__.lower()
        for p in module.parameters()
    } | {id(p) for p in head.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in left_out}


def reference_rows(model: Any, contexts: list[NDArray[Any]], targets: list[int]) -> Tensor:
    """One ordinary backward pass a prediction, columns in the order of `named_parameters`."""
    parameters = list(covered_parameters(model).values())
    rows = []
    for context, target in zip(contexts, targets, strict=True):
        for parameter in parameters:
            parameter.requires_grad_()
        logits = model(input_ids=torch.tensor(context)[None]).logits[0, -1].float()
        loss = -logits.log_softmax(-1)[target]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
        model.requires_grad_(False)
    return torch.stack(rows)


def relative_row_errors(rows: Tensor, expected: Tensor) -> Tensor:
    return (rows - expected).norm(dim=1) / expected.norm(dim=1)


def some_predictions(seed: int, n: int = 12) -> tuple[list[NDArray[Any]], list[int]]:
    rng = np.random.default_rng(seed)
    contexts = random_documents(rng.integers(1, 30, n).tolist(), seed)
    return contexts, rng.integers(0, VOCABULARY, n).tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_equal_autograd_one_prediction_at_a_time(architecture: str) -> None:
    model = model_of(architecture)
    contexts, targets = some_predictions(seed=1)
    rows = prediction_gradients(model, contexts, targets)
    expected = reference_rows(model, contexts, targets)
    assert rows.shape == expected.shape
    assert relative_row_errors(rows, expected).max() <= TOLERANCE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_cover_exactly_all_parameters_but_norms_and_embeddings(architecture: str) -> None:
    model = model_of(architecture)
    blocks = linear_blocks(model)
    actual = [id(p) for block in blocks for p in block.module.parameters()]
    covered = covered_parameters(model)
    assert sorted(actual) == sorted(id(p) for p in covered.values())
    assert sum(block.size for block in blocks) == sum(p.numel() for p in covered.values())
    ends = [block.first + block.size for block in blocks]
    assert [block.first for block in blocks] == [0, *ends[:-1]]
    assert not any("norm" in name or "emb" in name for name in covered)


def test_gpt2_weights_are_transposed() -> None:
    modules = [block.module for block in linear_blocks(model_of("gpt2"))]
    assert all(isinstance(module, Conv1D) for module in modules)


@pytest.mark.slow
def test_cosines_of_real_predictions_equal_those_of_autograd() -> None:
    model = load_model(final_checkpoint("s3"), vocabulary_size=2048)
    texts = documents()[:40]
    losses = document_losses(model, texts)
    indexes = np.flatnonzero(losses < 0.2)[:96]
    assert len(indexes) >= 64
    contexts, targets = prediction_contexts(texts, indexes)
    rows = prediction_gradients(model, contexts, targets)
    expected = reference_rows(model, contexts, targets)
    # Of a prediction that is nearly certain, 1 - p itself is known to few digits in float32.
    assert relative_row_errors(rows, expected).max() <= 10 * TOLERANCE
    unit = expected.double() / expected.double().norm(dim=1, keepdim=True)
    assert np.abs(cosine_matrix(rows) - (unit @ unit.T).numpy()).max() <= TOLERANCE


@settings(max_examples=15, deadline=None)
@given(tokens=st.integers(1, 200), seed=st.integers(0, 2**16), n=st.integers(1, 10))
def test_batching_changes_rows_by_rounding_only(tokens: int, seed: int, n: int) -> None:
    model = model_of("gpt_neox")
    contexts, targets = some_predictions(seed, n)
    together = prediction_gradients(model, contexts, targets)
    apart = prediction_gradients(model, contexts, targets, tokens_per_batch=tokens)
    assert relative_row_errors(apart, together).max() <= TOLERANCE


def test_rows_are_in_the_order_of_the_contexts() -> None:
    model = model_of("gpt_neox")
    contexts, targets = some_predictions(seed=3)
    rows = prediction_gradients(model, contexts, targets)
    backwards = prediction_gradients(model, contexts[::-1], targets[::-1])
    assert relative_row_errors(backwards.flip(0), rows).max() <= TOLERANCE


def test_gradients_do_not_modify_the_model() -> None:
    model = tiny_model("gpt_neox")
    before = {name: p.clone() for name, p in model.named_parameters()}
    prediction_gradients(model, *some_predictions(seed=4))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
        assert not parameter.requires_grad
    assert not any(m._forward_hooks for m in model.modules())


def test_an_empty_context_is_named() -> None:
    with pytest.raises(ValueError, match="context 1 is empty"):
        prediction_gradients(model_of("gpt_neox"), random_documents([3, 0]), [1, 2])


def test_a_body_with_unsupported_parameters_is_named() -> None:
    model = tiny_model("gpt_neox")
    model.base_model.layers[0].mixer = nn.Conv1d(2, 2, 3)
    with pytest.raises(ValueError, match=r"layers\.0\.mixer \(Conv1d\)"):
        linear_blocks(model)


def test_a_model_that_changes_its_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="logits"):
        prediction_gradients(model_of("gemma2"), *some_predictions(seed=5))


def test_a_gradient_that_is_not_finite_is_named() -> None:
    model = tiny_model("gpt_neox")
    with torch.no_grad():
        model.base_model.layers[0].attention.dense.bias[0] = torch.inf
    with pytest.raises(ValueError, match="gradient 0 has norm"):
        prediction_gradients(model, *some_predictions(seed=6))


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_contexts_are_everything_before_the_predicted_token(lengths: list[int]) -> None:
    texts = random_documents(lengths)
    numbered = [(d, p) for d in texts for p in range(1, len(d))]
    contexts, targets = prediction_contexts(texts, np.arange(len(numbered)))
    assert len(contexts) == len(targets) == len(numbered)
    for context, target, (document, position) in zip(contexts, targets, numbered, strict=True):
        assert context.tolist() == document[:position].tolist()
        assert target == document[position]


def test_a_shared_linear_layer_sums_its_gradients() -> None:
    model = tiny_model("gpt_neox")
    layers = model.base_model.layers
    layers[1].mlp = layers[0].mlp  # shared by two layers, as some architectures do
    contexts, targets = some_predictions(seed=3)
    rows = prediction_gradients(model, contexts, targets)
    expected = reference_rows(model, contexts, targets)
    assert relative_row_errors(rows, expected).max() <= TOLERANCE
