"""Small data with known results, shared by tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def planted_sizes(n_clusters: int, total: int, exponent: float = 1.08) -> list[int]:
    """Cluster sizes proportional to rank^-exponent, largest first, summing to total, each >= 1."""
    shares = np.arange(1, n_clusters + 1, dtype=float) ** -exponent
    sizes = np.maximum(1, np.floor(total * shares / shares.sum())).astype(int)
    sizes[0] += total - sizes.sum()
    return [int(size) for size in sizes]


def planted_gradients(
    sizes: list[int], cosine: float, n_params: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit rows around random unit centres, in shuffled order, with the cluster of each.

    A row is sqrt(c)·centre + sqrt(1 - c)·noise with unit noise exactly orthogonal to its centre, so
    two rows of one cluster have expected cosine exactly c, and rows of different clusters 0.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((len(sizes), n_params)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    own = centres[labels]
    noise = rng.standard_normal(own.shape, dtype=np.float32)
    noise -= np.einsum("ij,ij->i", noise, own)[:, None] * own
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.float32(cosine**0.5) * own + np.float32((1 - cosine) ** 0.5) * noise, labels


VOCABULARY = 96


def tiny_model(architecture: str, *, seed: int = 0) -> Any:
    """A random causal language model of one architecture, with weights large enough to matter.

    Args:
        architecture: "gpt_neox", "gpt2", "llama", or "gemma2" (soft-capped logits).
        seed: seed of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    if architecture == "gpt2":
        sizes |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
        sizes = {k: v for k, v in sizes.items() if not k.startswith(("hidden", "num", "inter"))}
    if architecture in {"llama", "gemma2"}:
        sizes["num_key_value_heads"] = 1
    if architecture == "gemma2":
        sizes |= {"head_dim": 8, "final_logit_softcapping": 2.0, "sliding_window": 8}
    config = AutoConfig.for_model(architecture, **sizes)
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.35, generator=generator)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False)


def random_documents(lengths: Sequence[int], seed: int = 0) -> list[NDArray[np.int64]]:
    """Random documents over the vocabulary of the tiny models."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, n) for n in lengths]
