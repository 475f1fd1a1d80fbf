"""Batches are halved until they fit into memory, and after no other error."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from compute.losses import BATCH_SIZES
from compute.memory import MIN_BATCH_SHARE, halve_until_fits, is_out_of_memory, scaled_batch_sizes


def test_a_batch_is_halved_until_it_fits() -> None:
    tried = []

    def run(share: float) -> str:
        tried.append(share)
        if share > 0.2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert halve_until_fits(run) == ("done", 0.125)
    assert tried == [1, 0.5, 0.25, 0.125]


def test_a_model_that_does_not_fit_raises_memory_error() -> None:
    tried = []

    def run(share: float) -> None:
        tried.append(share)
        raise MemoryError

    with pytest.raises(MemoryError, match="choose a smaller model"):
        halve_until_fits(run)
    assert tried[-1] == MIN_BATCH_SHARE


def test_other_errors_are_not_retried() -> None:
    tried = []

    def run(share: float) -> None:
        tried.append(share)
        raise RuntimeError("expected scalar type Float")

    with pytest.raises(RuntimeError, match="scalar type"):
        halve_until_fits(run)
    assert tried == [1]


def test_a_failed_allocation_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_scaled_batch_has_at_least_one_token() -> None:
    assert scaled_batch_sizes("cpu", 1.0) == BATCH_SIZES["cpu"]
    assert scaled_batch_sizes("cuda:0", 0.5).tokens == BATCH_SIZES["cuda"].tokens // 2
    assert scaled_batch_sizes("cpu", 1e-12).tokens == 1


SCRIPT = """
import resource, sys
import numpy as np, torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
from compute.losses import BatchSizes, document_losses
from compute.memory import halve_until_fits

torch.set_num_threads(1)
torch.manual_seed(0)
model = GPTNeoXForCausalLM(GPTNeoXConfig(
    vocab_size=512, hidden_size=256, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=1024, max_position_embeddings=512)).eval()
rng = np.random.default_rng(0)
documents = [rng.integers(0, 512, 400) for _ in range(64)]
usual = BatchSizes(64 * 400, 1 << 30)
sizes = lambda share: BatchSizes(int(usual.tokens * share), int(usual.logits_bytes * share))
small = document_losses(model, documents, sizes=sizes(1 / 64))
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (40 << 20), resource.RLIM_INFINITY))
found, share = halve_until_fits(lambda share: document_losses(model, documents, sizes=sizes(share)))
assert np.abs(found - small).max() < 1e-4, np.abs(found - small).max()
print(share)
"""


@pytest.mark.slow
def test_losses_fit_into_a_process_with_little_memory() -> None:
    """The address space is limited, so that the first batches cannot be allocated."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1
    assert np.log2(float(done.stdout)) == int(np.log2(float(done.stdout)))
