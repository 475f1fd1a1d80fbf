"""Stacks of sparse parity and modular addition against single networks in plain PyTorch.

One stack per thread; medians of paired rounds. *Share*: throughput over that of batched products of
the same shapes without any other work. *Ratio*: time of the same networks one by one in plain
PyTorch (autograd, `torch.optim.AdamW`, the faster of one thread and all) over that of the stacks.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compute.ensembles.trainer import Networks, TrainConfig, Trainer, single_threaded
from compute.grokking.modular_addition import PUBLISHED_BETAS, ModularAdditionNetworks
from compute.grokking.modular_setting import Architecture, n_train, pair_order
from compute.grokking.modular_setting import Setting as AdditionSetting
from compute.parity_problem import Problem, Setting
from compute.sparse_parity import ParityNetworks

PARITY, WIDTH, ARCHITECTURE = Problem(), 150, Architecture(p=53)


@dataclass(frozen=True)
class Product:
    """Matrix products of a layer: rows times [a, b], with or without the input's gradient."""

    rows: int
    a: int
    b: int
    has_input_gradient: bool = True

    def flop(self) -> float:
        """Return the FLOPs for one network."""
        return 2.0 * self.rows * self.a * self.b * (3 if self.has_input_gradient else 2)


@dataclass(frozen=True)
class Sweep:
    """A benchmark.

    Attributes:
        products: products of one network and step.
        stack: returns a stack of a number of networks.
        train_single: trains one network in plain PyTorch for a number of steps.
    """

    name: str
    products: Sequence[Product]
    stack: Callable[[int], tuple[Networks, Trainer]]
    train_single: Callable[[int], None]


def _trainer(networks: ParityNetworks | ModularAdditionNetworks, steps: int) -> Trainer:
    config = TrainConfig(steps, {}, (), torch.zeros(0, dtype=torch.int64).numpy())
    return Trainer(networks, networks.optimizer(), config)


def _parity(steps: int, device: str) -> Sweep:
    rows, inputs = Setting().batch_size, PARITY.tasks + PARITY.bits

    def stack(count: int) -> tuple[Networks, Trainer]:
        settings = [Setting(seed=seed) for seed in range(count)]
        networks = ParityNetworks(PARITY, WIDTH, settings, device=device)
        return networks, _trainer(networks, steps)

    def train_single(n_steps: int) -> None:
        model = nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 2)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
        p = torch.as_tensor(PARITY.frequencies()).to(device)
        subsets = torch.as_tensor(PARITY.subsets()).to(device)
        for _ in range(n_steps):
            tasks = torch.multinomial(p, rows, replacement=True)
            bits = torch.randint(2, (rows, PARITY.bits), device=device)
            parity = bits.gather(1, subsets[tasks]).sum(dim=1) % 2
            x = torch.cat([nn.functional.one_hot(tasks, PARITY.tasks), bits], dim=1).float()
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), parity).backward()
            optimizer.step()

    products = (Product(rows, inputs, WIDTH, has_input_gradient=False), Product(rows, WIDTH, 2))
    return Sweep("sparse parity", products, stack, train_single)


class PlainTransformer(nn.Module):
    """The transformer with all three positions, written as usual in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        d, m, p = ARCHITECTURE.d_model, ARCHITECTURE.d_mlp, ARCHITECTURE.p

        def normal(rows: int, columns: int, width: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns) / width**0.5)

        self.E, self.position = normal(p + 1, d, d), normal(3, d, d)
        self.Q, self.K, self.V, self.O = (normal(d, d, d) for _ in range(4))
        self.inner, self.outer = nn.Linear(d, m), nn.Linear(m, d)
        self.U = normal(d, p, p + 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits at the last position."""
        x = self.E[tokens] + self.position
        shape = (len(tokens), 3, ARCHITECTURE.heads, -1)
        q, k, v = ((x @ W).view(shape).transpose(1, 2) for W in (self.Q, self.K, self.V))
        causal = torch.ones(3, 3, device=x.device).tril().log()
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5 + causal).softmax(dim=3)
        x = x + (weights @ v).transpose(1, 2).flatten(2) @ self.O
        x = x + self.outer(self.inner(x).relu())
        return x[:, -1] @ self.U


def _modular_addition(steps: int, device: str) -> Sweep:
    setting = AdditionSetting(train_fraction=0.5)
    rows, p = n_train(ARCHITECTURE.p, setting.train_fraction), ARCHITECTURE.p
    d, m = ARCHITECTURE.d_model, ARCHITECTURE.d_mlp

    def stack(count: int) -> tuple[Networks, Trainer]:
        settings = [AdditionSetting(train_fraction=0.5, seed=seed) for seed in range(count)]
        networks = ModularAdditionNetworks(ARCHITECTURE, settings, device)
        return networks, _trainer(networks, steps)

    def train_single(n_steps: int) -> None:
        model = PlainTransformer().to(device)
        betas = (PUBLISHED_BETAS.beta1, PUBLISHED_BETAS.beta2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0, betas=betas)
        codes = torch.as_tensor(pair_order(p, 0)[:rows]).to(device)
        a, b = codes // p, codes % p
        tokens = torch.stack([a, b, torch.full_like(a, p)], dim=1)
        for _ in range(n_steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(tokens).double(), (a + b) % p).backward()
            optimizer.step()

    products = tuple(Product(rows, x, y) for x, y in ((d, d), (d, m), (m, d), (d, p)))
    return Sweep("modular addition", products, stack, train_single)


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device != "cpu":
        torch.cuda.synchronize()


def product_throughput(
    products: Sequence[Product], count: int, steps: int, n_threads: int, device: str
) -> float:
    """Return the FLOP/s of batched products of these shapes without any other work."""

    def work(_: int) -> None:
        torch.set_num_threads(1)
        stacked = [
            (
                product,
                torch.randn(count, product.rows, product.a, device=device),
                torch.randn(count, product.a, product.b, device=device),
                torch.randn(count, product.rows, product.b, device=device),
            )
            for product in products
        ]
        outs = [
            (torch.empty_like(s), torch.empty_like(W), torch.empty_like(x))
            for _, x, W, s in stacked
        ]
        for _ in range(steps):
            for (product, x, W, grad), (y, dW, dx) in zip(stacked, outs, strict=True):
                torch.bmm(x, W, out=y)
                torch.bmm(x.transpose(1, 2), grad, out=dW)
                if product.has_input_gradient:
                    torch.bmm(grad, W.transpose(1, 2), out=dx)

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, range(n_threads)))
    synchronize(device)
    flop = n_threads * count * steps * sum(product.flop() for product in products)
    return flop / (time.perf_counter() - start)


def time_stacks(sweep: Sweep, count: int, n_threads: int, device: str) -> float:
    """Return the seconds of training one stack per thread."""
    stacked = [sweep.stack(count)[1] for _ in range(n_threads)]

    def work(training: Trainer) -> None:
        torch.set_num_threads(1)
        training.train()

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, stacked))
    synchronize(device)
    return time.perf_counter() - start


def time_single(sweep: Sweep, steps: int, n_threads: int, device: str) -> float:
    """Return the seconds of one network in plain PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    sweep.train_single(3)
    start = time.perf_counter()
    sweep.train_single(steps)
    synchronize(device)
    seconds = time.perf_counter() - start
    torch.set_num_threads(before)
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--stack", type=int, default=4, help="Networks per stack (default 4).")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu).")
    args = parser.parse_args()
    device, threads = args.device, args.threads if args.device == "cpu" else 1
    for sweep in (_parity(args.steps, device), _modular_addition(args.steps, device)):
        flop = threads * args.stack * args.steps * sum(p.flop() for p in sweep.products)
        shares, ratios, rates = [], [], []
        time_stacks(sweep, 1, 1, device)  # compiles
        for _ in range(args.rounds):
            seconds = time_stacks(sweep, args.stack, threads, device)
            floor = product_throughput(sweep.products, args.stack, args.steps, threads, device)
            single = (
                args.stack
                * threads
                * min(time_single(sweep, args.steps, n, device) for n in {1, threads})
            )
            rates.append(flop / seconds)
            shares.append(flop / seconds / floor)
            ratios.append(single / seconds)
        print(
            f"{sweep.name}: {threads} x {args.stack} networks, "
            f"{statistics.median(rates) / 1e9:.1f} GFLOP/s, "
            f"{statistics.median(shares):.0%} of the products' rate, "
            f"{statistics.median(ratios):.1f} times plain PyTorch one by one"
        )


if __name__ == "__main__":
    main()
