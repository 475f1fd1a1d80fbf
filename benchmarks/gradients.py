"""Throughput of batched gradients against one autograd call per prediction.

Baseline: transformers and torch.autograd, one prediction at a time. Both use one thread and
alternate; the result is the median ratio.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from backend.stages.demo import BUNDLED
from backend.stages.evaluate_worker import silence_transformers
from benchmarks.losses import documents
from compute.checkpoints import load_model
from compute.gradients import linear_blocks, prediction_contexts, prediction_gradients

N_PREDICTIONS, ROUNDS = 96, 5


def one_at_a_time(
    model: torch.nn.Module, contexts: list[np.ndarray], targets: list[int]
) -> torch.Tensor:
    """Return the same rows by one backward pass per prediction."""
    weights = [p for block in linear_blocks(model) for p in block.module.parameters()]
    rows = []
    for weight in weights:
        weight.requires_grad_(True)
    for context, target in zip(contexts, targets, strict=True):
        logits = model(input_ids=torch.from_numpy(context)[None], use_cache=False).logits[0, -1:]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([target]))
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]))
    for weight in weights:
        weight.requires_grad_(False)
    return torch.stack(rows)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print predictions per second and the ratio."""
    torch.set_num_threads(1)
    silence_transformers()
    texts = documents()
    total = sum(len(t) - 1 for t in texts)
    indexes = np.random.default_rng(0).choice(total, N_PREDICTIONS, replace=False)
    contexts, targets = prediction_contexts(texts, np.sort(indexes))
    for name in ("s3", "s5"):
        model = load_model(BUNDLED / "models" / name / "step2000", vocabulary_size=2048)
        fast_rows = prediction_gradients(model, contexts, targets)
        slow_rows = one_at_a_time(model, contexts, targets)
        error = ((fast_rows - slow_rows).norm(dim=1) / slow_rows.norm(dim=1)).max()
        ratios, rates = [], []
        for _ in range(ROUNDS):
            slow = _seconds(lambda: one_at_a_time(model, contexts, targets))  # noqa: B023
            fast = _seconds(lambda: prediction_gradients(model, contexts, targets))  # noqa: B023
            ratios.append(slow / fast)
            rates.append(N_PREDICTIONS / fast)
        print(
            f"{name}: {statistics.median(rates):6,.0f} predictions/s, "
            f"{statistics.median(ratios):.2f} x one at a time, max relative difference {error:.1e}"
        )


if __name__ == "__main__":
    main()
