"""The fast GPT-NeoX forward pass on a CPU equals that of transformers."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from compute.checkpoints import load_model
from compute.gpt_neox import QUERY_BLOCK, NeoXBody, make_body
from tests.bundled import final_checkpoint
from tests.factories import tiny_model


def neox(**changes: Any) -> Any:
    """Return a random model with every parameter in effect, two layers by default."""
    sizes: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPTNeoXConfig(**sizes | changes)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.requires_grad_(False)


@torch.inference_mode()
def largest_difference(model: Any, body: Any, rows: int, length: int, seed: int = 0) -> float:
    """Return the largest difference of hidden states, in units of their spread (about 1)."""
    ids = torch.from_numpy(np.random.default_rng(seed).integers(0, 50, (rows, length)))
    own = model.base_model(input_ids=ids).last_hidden_state
    assert body(ids).shape == own.shape
    return float((body(ids) - own).abs().max() / own.std())


@pytest.mark.parametrize("length", [1, 2, QUERY_BLOCK, QUERY_BLOCK + 1, 3 * QUERY_BLOCK - 1, 300])
@pytest.mark.parametrize("rows", [1, 3])
def test_hidden_states_equal_those_of_transformers(rows: int, length: int) -> None:
    model = neox()
    body = make_body(model)
    assert isinstance(body, NeoXBody)
    assert largest_difference(model, body, rows, length) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"num_attention_heads": 1},
        {"num_attention_heads": 6},
        {"attention_bias": False},
        {"layer_norm_eps": 0.1},
        {"num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 50, "partial_rotary_factor": 1}},
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 9e3,
                "partial_rotary_factor": 0.5,
            }
        },
        {"tie_word_embeddings": True},
    ],
    ids=str,
)
def test_variants_of_the_architecture_equal_transformers(changes: dict[str, Any]) -> None:
    model = neox(**changes)
    body = make_body(model)
    assert isinstance(body, NeoXBody)
    assert largest_difference(model, body, 2, QUERY_BLOCK + 9) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"use_parallel_residual": False},
        {"hidden_act": "relu"},
        {"num_attention_heads": 8},  # heads of three numbers
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000}},
    ],
    ids=str,
)
def test_unsupported_variants_use_transformers(changes: dict[str, Any]) -> None:
    model = neox(**changes)
    body = make_body(model)
    assert not isinstance(body, NeoXBody)
    assert largest_difference(model, body, 2, 20) == 0


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_other_architectures_use_transformers(architecture: str) -> None:
    assert not isinstance(make_body(tiny_model(architecture)), NeoXBody)


def test_half_precision_and_training_mode_use_transformers() -> None:
    assert not isinstance(make_body(neox().half()), NeoXBody)
    assert not isinstance(make_body(neox().train()), NeoXBody)


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "s4", "s5"])
def test_the_bundled_models_use_the_fast_pass(name: str) -> None:
    """A fallback would be correct but silently slow."""
    assert isinstance(make_body(load_model(final_checkpoint(name), vocabulary_size=2048)), NeoXBody)


@pytest.mark.parametrize("factor", [1.5, 1.002])
def test_a_hooked_module_uses_transformers(factor: float) -> None:
    """An adapter or a hook changes the computation, not the configuration."""
    model = neox()
    model.base_model.layers[1].mlp.register_forward_hook(lambda _, __, out: out * factor)
    body = make_body(model)
    assert not isinstance(body, NeoXBody)
    assert largest_difference(model, body, 2, 20) == 0


def test_weights_that_overflow_use_transformers() -> None:
    model = neox()
    model.base_model.layers[0].mlp.dense_4h_to_h.weight[0, 0] = torch.nan
    assert not isinstance(make_body(model), NeoXBody)


@settings(max_examples=25, deadline=None)
@given(shapes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 140)), min_size=2, max_size=8))
def test_reused_buffers_do_not_leak_between_batches(shapes: list[tuple[int, int]]) -> None:
    model = neox()
    body = make_body(model)
    for seed, (rows, length) in enumerate(shapes):
        assert largest_difference(model, body, rows, length, seed) < 1e-5


def test_a_position_does_not_depend_on_later_tokens() -> None:
    body = make_body(neox())
    ids = torch.arange(150).remainder(50)[None]
    changed = ids.clone()
    changed[0, 100:] = 7
    assert torch.equal(body(ids)[0, :100], body(changed)[0, :100])
    assert not torch.allclose(body(ids)[0, 100:], body(changed)[0, 100:])
