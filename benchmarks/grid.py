"""Phase diagrams: a grid in stacks against single runs in plain PyTorch.

Three figures, medians of paired rounds on the same cores. *Ratio*: time of the single runs
(`benchmarks.plain_toy`, with the faster number of threads) over that of the stacks. *Share*:
throughput over that of batched products of the same shapes without any other work. *Agreement*:
largest difference in float64 after 100 steps, and share of equal labels.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

from benchmarks.plain_toy import in_plain_order, learning_rate_grid, plain_run
from compute.ensembles.trainer import TrainConfig, Trainer, TrainResult, single_threaded
from compute.grokking.addition import AdditionNetworks
from compute.grokking.phase_diagram_setting import train_config
from compute.grokking.phases import margins, phase_labels
from compute.grokking.problems import Problem, Setting, n_train

SIDE = 11
PROBLEM = Problem()
# A stack whose parameters and averages fit into the cache of a core.
CPU_STACK = 8


def split_into_stacks(count: int, size: int) -> list[range]:
    """Return the cells of each stack."""
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def train_stack(
    problem: Problem, settings: Sequence[Setting], config: TrainConfig, device: str = "cpu"
) -> TrainResult:
    """Train cells in one stack."""
    networks = AdditionNetworks(problem, settings, device)
    return Trainer(networks, networks.optimizer(), config).train()


def train_grid(
    problem: Problem, settings: Sequence[Setting], config: TrainConfig, n_threads: int = 1
) -> list[TrainResult]:
    """Train all cells on a CPU, `CPU_STACK` cells a stack, `n_threads` stacks at a time."""

    def train(cells: range) -> TrainResult:
        torch.set_num_threads(1)  # set per thread
        return train_stack(problem, [settings[i] for i in cells], config)

    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(train, split_into_stacks(len(settings), CPU_STACK)))


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: str) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def flop(settings: list[Setting], steps: int) -> float:
    """Return the FLOPs of all products: forward on all pairs, backward on training pairs."""
    shape, pairs = PROBLEM.shape(), len(PROBLEM.pairs())
    forward = shape.flop_per_row() / 3
    return steps * sum(forward * (pairs + 2 * n_train(PROBLEM, setting)) for setting in settings)


def product_throughput(count: int, steps: int, n_threads: int, device: str) -> float:
    """Return the FLOP/s of the products of stacks without any other work."""
    widths, pairs, rows = PROBLEM.shape().widths, len(PROBLEM.pairs()), 45

    def work(_: int) -> float:
        torch.set_num_threads(1)
        products = []
        for a, b in pairwise(widths):
            x, W = (
                torch.randn(count, pairs, a, device=device),
                torch.randn(count, a, b, device=device),
            )
            grad = torch.randn(count, rows, b, device=device)
            outs = (
                torch.empty(count, pairs, b, device=device),
                torch.empty_like(W),
                torch.empty(count, rows, a, device=device),
            )
            products.append((x, W, grad, outs))
        for _ in range(steps):
            for x, W, grad, (forward, dW, dx) in products:
                torch.bmm(x, W, out=forward)
                torch.bmm(x[:, :rows].transpose(1, 2), grad, out=dW)
                torch.bmm(grad, W.transpose(1, 2), out=dx)
        return steps * flop([Setting()] * count, 1)

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        total = sum(threads.map(work, range(n_threads)))
        synchronize(device)
    return total / (time.perf_counter() - start)


def train_all(settings: list[Setting], config: TrainConfig, n_threads: int, device: str) -> None:
    """Train all cells: in small stacks on a CPU, in one stack on a GPU."""
    if device == "cpu":
        train_grid(PROBLEM, settings, config, n_threads)
    else:
        train_stack(PROBLEM, settings, config, device)


def one_by_one(settings: list[Setting], steps: int, n_threads: int, device: str) -> None:
    """Train the cells one by one in plain PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    for setting in settings:
        plain_run(PROBLEM, setting, steps, device=device)
    torch.set_num_threads(before)


def largest_difference(settings: list[Setting], steps: int) -> float:
    """Return the largest difference of a parameter after some steps in float64."""
    networks = AdditionNetworks(PROBLEM, settings, dtype=torch.float64)
    result = Trainer(networks, networks.optimizer(), train_config(steps, stop_early=False)).train()
    largest = 0.0
    for i, setting in enumerate(settings):
        single = plain_run(PROBLEM, setting, steps, torch.float64, record_steps=(steps - 1,))
        both = zip(in_plain_order(result.params, i), single.params[steps - 1], strict=True)
        largest = max(largest, *((a - b).abs().max().item() for a, b in both))
    return largest


def print_label_agreement(settings: list[Setting], steps: int, n_threads: int) -> None:
    """Print the share of equal labels, and the margins of the others."""
    results = train_grid(PROBLEM, settings, train_config(steps), n_threads)
    stacked = {
        n: np.concatenate([r.threshold_steps[n] for r in results]) for n in ("train", "test")
    }
    single = [
        plain_run(PROBLEM, setting, steps, stop_early=True).threshold_steps for setting in settings
    ]
    plain = {n: np.array([setting[n] for setting in single]) for n in ("train", "test")}
    ours, theirs = (phase_labels(s["train"], s["test"], steps) for s in (stacked, plain))
    is_equal = ours.phases == theirs.phases
    print(f"labels equal in {is_equal.mean():.1%} of {len(settings)} cells, S = {steps}")
    print("stacked:", ours.counts(), " single:", theirs.counts())
    margin = margins(plain["train"], plain["test"], steps)
    for i in np.flatnonzero(~is_equal):
        print(
            f"  cell {divmod(int(i), SIDE)}: {ours.phases[i]} stacked, {theirs.phases[i]} single; "
            f"train {stacked['train'][i]} / {plain['train'][i]}, "
            f"test {stacked['test'][i]} / {plain['test'][i]}; margin {margin[i]} steps"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=200, help="Steps per cell in the timed rounds (default 200)."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--labels",
        type=int,
        default=0,
        help="Budget S of the label comparison, which is slow (default: skip).",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu or cuda (default cpu); all cells are one stack on a GPU.",
    )
    args = parser.parse_args()
    device, settings = args.device, learning_rate_grid(SIDE)
    threads = args.threads if device == "cpu" else 1
    timed_config = train_config(args.steps, stop_early=False)
    sample = settings[:: max(1, len(settings) // 24)]
    scale = len(settings) / len(sample)
    train_grid(PROBLEM, settings[:2], train_config(20), 1)  # compiles
    ratios, shares, rates = [], [], []
    for _ in range(args.rounds):
        batch = seconds(lambda: train_all(settings, timed_config, threads, device), device)
        single = scale * min(
            seconds(lambda n=n: one_by_one(sample, args.steps, n, device), device)
            for n in {1, threads}
        )
        rate = flop(settings, args.steps) / batch
        size = CPU_STACK if device == "cpu" else len(settings)
        floor = product_throughput(size, args.steps, threads, device)
        ratios.append(single / batch)
        shares.append(rate / floor)
        rates.append(rate)
        print(
            f"batch {batch:.2f} s, {rate / 1e9:.1f} GFLOP/s of {floor / 1e9:.1f}; single runs "
            f"{single:.2f} s, {rate / 1e9 * batch / single:.1f} GFLOP/s; ratio {ratios[-1]:.2f}"
        )
    print(
        f"{SIDE} x {SIDE} grid, {len(split_into_stacks(len(settings), CPU_STACK))} stacks on "
        f"{threads} threads: median ratio {statistics.median(ratios):.2f}, "
        f"{statistics.median(rates) / 1e9:.1f} GFLOP/s, {statistics.median(shares):.0%} of the "
        "products' own rate"
    )
    print(f"largest difference after 100 steps in float64: {largest_difference(sample, 100):.1e}")
    if args.labels:
        print_label_agreement(settings, args.labels, threads)


if __name__ == "__main__":
    main()
