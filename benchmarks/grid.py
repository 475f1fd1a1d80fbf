"""Phase diagrams: a grid in one batch against its runs one by one in plain PyTorch.

Three figures, measured in turns on the same cores, medians of paired rounds. *Ratio*: time of the
runs one by one (`benchmarks.plain_toy`, with the number of threads that is faster for it) over
that of the batch. *Floor*: share of the rate that batched products of exactly these shapes reach
alone. *Agreement*: of the two ways in float64 after 100 steps, and of their labels.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch

from benchmarks.plain_toy import grid, in_plain_order, plain_run
from compute.ensembles.trainer import TrainConfig, Trainer, TrainResult, single_threaded
from compute.grokking.addition import AdditionNetworks
from compute.grokking.phase_diagram import train_config
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


def settle(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds(what: Callable[[], object], device: str) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    what()
    settle(device)
    return time.perf_counter() - start


def flop(settings: list[Setting], steps: int) -> float:
    """Return floating-point operations of all products: forward on all pairs, back on the train."""
    shape, pairs = PROBLEM.shape(), len(PROBLEM.pairs())
    forward = shape.flop_per_row() / 3
    return steps * sum(forward * (pairs + 2 * n_train(PROBLEM, one)) for one in settings)


def products_alone(count: int, steps: int, n_threads: int, device: str) -> float:
    """Return operations a second of the batch's products and nothing else."""
    widths, pairs, rows = PROBLEM.shape().widths, len(PROBLEM.pairs()), 45

    def work(_: int) -> float:
        torch.set_num_threads(1)
        made = []
        for a, b in pairwise(widths):
            x, W = (
                torch.randn(count, pairs, a, device=device),
                torch.randn(count, a, b, device=device),
            )
            slope = torch.randn(count, rows, b, device=device)
            outs = (
                torch.empty(count, pairs, b, device=device),
                torch.empty_like(W),
                torch.empty(count, rows, a, device=device),
            )
            made.append((x, W, slope, outs))
        for _ in range(steps):
            for x, W, slope, (forward, of_W, of_x) in made:
                torch.bmm(x, W, out=forward)
                torch.bmm(x[:, :rows].transpose(1, 2), slope, out=of_W)
                torch.bmm(slope, W.transpose(1, 2), out=of_x)
        return steps * flop([Setting()] * count, 1)

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        total = sum(threads.map(work, range(n_threads)))
        settle(device)
    return total / (time.perf_counter() - start)


def together(settings: list[Setting], how: TrainConfig, n_threads: int, device: str) -> None:
    """Run all cells: in groups on a CPU, in one stack on a GPU."""
    if device == "cpu":
        train_grid(PROBLEM, settings, how, n_threads)
    else:
        train_stack(PROBLEM, settings, how, device)


def one_by_one(settings: list[Setting], steps: int, n_threads: int, device: str) -> None:
    """Run every cell alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    for setting in settings:
        plain_run(PROBLEM, setting, steps, device=device)
    torch.set_num_threads(before)


def worst_difference(settings: list[Setting], steps: int) -> float:
    """Return the largest difference of any parameter after some steps in float64."""
    networks = AdditionNetworks(PROBLEM, settings, dtype=torch.float64)
    record = Trainer(networks, networks.optimizer(), train_config(steps, stop_early=False)).train()
    worst = 0.0
    for i, setting in enumerate(settings):
        alone = plain_run(PROBLEM, setting, steps, torch.float64, keep=(steps - 1,))
        both = zip(in_plain_order(record.params, i), alone.parameters[steps - 1], strict=True)
        worst = max(worst, *((a - b).abs().max().item() for a, b in both))
    return worst


def labels_that_agree(settings: list[Setting], steps: int, n_threads: int) -> None:
    """Print the share of equal labels, and the margins of those that are not."""
    records = train_grid(PROBLEM, settings, train_config(steps), n_threads)
    found = {n: np.concatenate([r.threshold_steps[n] for r in records]) for n in ("train", "test")}
    alone = [plain_run(PROBLEM, setting, steps, stops=True).reached for setting in settings]
    plain = {n: np.array([one[n] for one in alone]) for n in ("train", "test")}
    ours, theirs = (phase_labels(s["train"], s["test"], steps) for s in (found, plain))
    same = ours.phases == theirs.phases
    print(f"labels equal in {same.mean():.1%} of {len(settings)} cells, S = {steps}")
    print("together:", ours.counts(), " alone:", theirs.counts())
    away = margins(plain["train"], plain["test"], steps)
    for i in np.flatnonzero(~same):
        print(
            f"  cell {divmod(int(i), SIDE)}: {ours.phases[i]} together, {theirs.phases[i]} alone; "
            f"train {found['train'][i]} / {plain['train'][i]}, "
            f"test {found['test'][i]} / {plain['test'][i]}; margin {away[i]} steps"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="of every cell, where timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--labels", type=int, default=0, help="budget S; slow: every cell alone")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: all cells in one stack")
    asked = parser.parse_args()
    device, settings = asked.device, grid(SIDE)
    threads = asked.threads if device == "cpu" else 1
    timed = train_config(asked.steps, stop_early=False)
    sample = settings[:: max(1, len(settings) // 24)]
    scale = len(settings) / len(sample)
    train_grid(PROBLEM, settings[:2], train_config(20), 1)  # compiles
    ratios, shares, rates = [], [], []
    for _ in range(asked.rounds):
        batch = seconds(lambda: together(settings, timed, threads, device), device)
        alone = scale * min(
            seconds(lambda n=n: one_by_one(sample, asked.steps, n, device), device)
            for n in {1, threads}
        )
        rate = flop(settings, asked.steps) / batch
        size = CPU_STACK if device == "cpu" else len(settings)
        floor = products_alone(size, asked.steps, threads, device)
        ratios.append(alone / batch)
        shares.append(rate / floor)
        rates.append(rate)
        print(
            f"batch {batch:.2f} s, {rate / 1e9:.1f} GFLOP/s of {floor / 1e9:.1f}; one by one "
            f"{alone:.2f} s, {rate / 1e9 * batch / alone:.1f} GFLOP/s; ratio {ratios[-1]:.2f}"
        )
    print(
        f"{SIDE} x {SIDE} grid, {len(split_into_stacks(len(settings), CPU_STACK))} stacks on "
        f"{threads} threads: median ratio {statistics.median(ratios):.2f}, "
        f"{statistics.median(rates) / 1e9:.1f} GFLOP/s, {statistics.median(shares):.0%} of the "
        "products' own rate"
    )
    print(f"worst difference after 100 steps in float64: {worst_difference(sample, 100):.1e}")
    if asked.labels:
        labels_that_agree(settings, asked.labels, threads)


if __name__ == "__main__":
    main()
