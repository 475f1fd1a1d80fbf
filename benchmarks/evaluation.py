"""Throughput of evaluation: length-bucketed batches against one document at a time.

Baseline: plain transformers, one document a forward pass, full logits, cross entropy. Both on one
thread, alternating, on the same documents of the bundled suite; the figure is the median ratio.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from tokenizers import Tokenizer

from backend.stages.demo import BUNDLED, MAX_TOKENS, PREFIX
from backend.stages.evaluate_worker import quiet
from compute.checkpoints import load_model
from compute.losses import document_losses

N_DOCUMENTS, ROUNDS = 120, 5


def documents() -> list[np.ndarray]:
    """Return token ids of the first bundled documents."""
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    lines = (BUNDLED / "documents.jsonl").read_text(encoding="utf-8").splitlines()[:N_DOCUMENTS]
    texts = [tokenizer.encode(json.loads(line)["text"]).ids for line in lines]
    return [np.array([*PREFIX, *ids][:MAX_TOKENS]) for ids in texts]


@torch.inference_mode()
def one_at_a_time(model: torch.nn.Module, texts: list[np.ndarray]) -> np.ndarray:
    """Return the same losses, the plain way."""
    losses = []
    for ids in texts:
        tokens = torch.from_numpy(ids)[None]
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits[0].float()
        all_losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
        losses.append(all_losses.numpy())
    return np.concatenate(losses)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Print tokens a second and the ratio for every model of the bundled suite."""
    torch.set_num_threads(1)
    quiet()
    texts = documents()
    n = sum(len(t) for t in texts)
    print(f"{N_DOCUMENTS} documents, {n} tokens, 1 thread, {ROUNDS} rounds")
    for name in ("s1", "s2", "s3", "s4", "s5"):
        model = load_model(BUNDLED / "models" / name / "step800", vocabulary_size=4096)
        difference = np.abs(document_losses(model, texts) - one_at_a_time(model, texts)).max()
        ratios, rates = [], []
        for _ in range(ROUNDS):
            slow = _seconds(lambda: one_at_a_time(model, texts))  # noqa: B023
            fast = _seconds(lambda: document_losses(model, texts))  # noqa: B023
            ratios.append(slow / fast)
            rates.append(n / fast)
        print(
            f"  {name}: {statistics.median(rates):9,.0f} tokens/s, "
            f"{statistics.median(ratios):.2f} x one at a time, max |difference| {difference:.1e}"
        )


if __name__ == "__main__":
    main()
