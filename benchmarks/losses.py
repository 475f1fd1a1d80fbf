"""Throughput of per-token losses against a simple loop with `transformers`.

Baseline: one document per forward pass, full logits, cross entropy, with torch's default number of
threads. Product: one single-threaded process per core on a CPU, large batches on a GPU. Both
alternate on the same documents; results are medians. The matrix rate is that of float32 products of
1,024 x 1,024 matrices with all threads, measured in the same run; shares of it count the
multiplications of weights, output head and attention.

    python -m benchmarks.losses              the bundled suite on the CPU
    python -m benchmarks.losses --cuda       Pythia's shapes with random weights on a GPU
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.stages.demo import BUNDLED, MAX_TOKENS, PREFIX
from backend.stages.evaluate_worker import prepare, silence_transformers
from compute.checkpoints import load_model, parameter_counts
from compute.losses import document_losses

N_DOCUMENTS, ROUNDS = 240, 7
TARGET_RATIO, TARGET_SHARE, SLOW_SHARE = 2.0, 0.75, 0.35
# (layers, hidden size, heads) of EleutherAI/pythia-*, arXiv:2304.01373 table 1.
PYTHIA = {
    "70m": (6, 512, 8),
    "160m": (12, 768, 12),
    "410m": (24, 1024, 16),
    "1b": (16, 2048, 8),
    "1.4b": (24, 2048, 16),
    "2.8b": (32, 2560, 32),
    "6.9b": (32, 4096, 32),
}


def documents() -> list[np.ndarray]:
    """Return token ids of the first bundled documents."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    lines = (BUNDLED / "documents.jsonl").read_text(encoding="utf-8").splitlines()[:N_DOCUMENTS]
    texts = [tokenizer.encode(json.loads(line)["text"]).ids for line in lines]
    return [np.array([*PREFIX, *ids][:MAX_TOKENS]) for ids in texts]


@torch.inference_mode()
def one_at_a_time(model: Any, texts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the same losses, one document at a time."""
    losses = []
    for ids in texts:
        tokens = torch.from_numpy(ids)[None].to(model.device)
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits[0].float()
        all_losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
        losses.append(all_losses.cpu().numpy())
    return np.concatenate(losses)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def matrix_rate(device: str, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Return FLOP/s of large matrix products."""
    matrix = torch.ones(size, size, device=device, dtype=dtype)

    def products() -> None:
        for _ in range(10):
            matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()

    products()
    return 10 * 2 * size**3 / min(_seconds(products) for _ in range(7))


def operations(model: Any, texts: Sequence[np.ndarray]) -> float:
    """Return the FLOPs of the losses of all texts."""
    config, counts = model.config, parameter_counts(model)
    head = config.vocab_size * config.hidden_size
    tokens = sum(len(text) - 1 for text in texts)
    pairs = sum((len(text) - 1) ** 2 / 2 for text in texts)
    attention = 4 * pairs * config.hidden_size * config.num_hidden_layers
    return 2.0 * tokens * (counts.nonembedding + head) + attention


@cache
def _loaded(folder: str) -> Any:
    prepare(threads=1)
    return load_model(Path(folder), vocabulary_size=2048)


def losses_of(folder: str, texts: list[np.ndarray]) -> np.ndarray:
    """Return the losses of documents; runs in a worker process."""
    return document_losses(_loaded(folder), texts)


def _verdict(ratio: float, baseline_share: float, product_share: float) -> str:
    if baseline_share < SLOW_SHARE:
        return f"{'met' if ratio >= TARGET_RATIO else 'MISSED'}: {ratio:.2f} of {TARGET_RATIO} x"
    met = product_share >= TARGET_SHARE
    return f"{'met' if met else 'MISSED'}: {product_share:.0%} of {TARGET_SHARE:.0%} of the rate"


def on_cpu() -> None:
    """Print the results of the bundled suite on all cores."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    texts, rate = documents(), matrix_rate("cpu")
    parts = [texts[i::cores] for i in range(cores)]
    n = sum(len(text) - 1 for text in texts)
    print(
        f"{len(texts)} documents, {n:,} predictions, {cores} cores, "
        f"matrix rate {rate / 1e9:.0f} GFLOP/s, {ROUNDS} rounds"
    )
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        for folder in sorted((BUNDLED / "models").iterdir()):
            last = max(folder.iterdir(), key=lambda step: int(step.name.removeprefix("step")))
            _one_model(str(last), folder.name, texts, parts, rate, pool)


def _one_model(
    folder: str,
    name: str,
    texts: list[np.ndarray],
    parts: list[list[np.ndarray]],
    rate: float,
    pool: ProcessPoolExecutor,
) -> None:
    model = load_model(Path(folder), vocabulary_size=2048)

    def product() -> list[np.ndarray]:
        return list(pool.map(losses_of, [folder] * len(parts), parts))

    product()
    expected = one_at_a_time(model, parts[0])
    difference = np.abs(product()[0] - expected).max()
    pairs = [
        (_seconds(lambda: one_at_a_time(model, texts)), _seconds(product)) for _ in range(ROUNDS)
    ]
    baseline, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    needed = operations(model, texts)
    shares = [needed / seconds / rate for seconds in (baseline, fast)]
    n = sum(len(text) - 1 for text in texts)
    print(
        f"  {name}: baseline {n / baseline:9,.0f} tokens/s ({shares[0]:.0%} of the rate), "
        f"product {n / fast:9,.0f} ({shares[1]:.0%}), {ratio:.2f} x; "
        f"{_verdict(ratio, *shares)}; max |difference| {difference:.1e} nats",
        flush=True,
    )


def on_gpu() -> None:
    """Print tokens per second and shares of the peak rate for Pythia's shapes."""
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    rng = np.random.default_rng(0)
    rates = {d: matrix_rate("cuda", d, 8192) for d in (torch.float32, torch.bfloat16)}
    print({str(d): f"{r / 1e12:.0f} TFLOP/s" for d, r in rates.items()})
    for name, (layers, hidden, heads) in PYTHIA.items():
        texts = [rng.integers(0, 50_000, 1024) for _ in range(64 if layers * hidden < 4000 else 16)]
        config = GPTNeoXConfig(
            vocab_size=50_304,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            tie_word_embeddings=False,
        )
        with torch.device("cuda"):
            model = AutoModelForCausalLM.from_config(config).float().eval()
        model.requires_grad_(False)
        run_both = [lambda: one_at_a_time(model, texts), lambda: document_losses(model, texts)]  # noqa: B023
        difference = np.abs(run_both[0]() - run_both[1]()).max()
        pairs = [[_seconds(run) for run in run_both] for _ in range(3)]
        ratio = statistics.median(a / b for a, b in pairs)
        fast = statistics.median(b for _, b in pairs)
        share = operations(model, texts) / fast / rates[torch.float32]
        n = sum(len(text) - 1 for text in texts)
        print(
            f"  pythia-{name}: {n / fast:11,.0f} tokens/s, {share:.0%} of the float32 rate, "
            f"{ratio:.2f} x the baseline; max |difference| {difference:.1e}",
            flush=True,
        )
        del model


def main() -> None:
    """Print the results of one device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuda", action="store_true")
    silence_transformers()
    if parser.parse_args().cuda:
        on_gpu()
    else:
        on_cpu()


if __name__ == "__main__":
    main()
