"""Sweeps of sparse parity and modular addition: share of the products' own rate.

Each sweep trains stacks side by side, a stack a thread. *Floor*: the rate of batched products of
exactly the shapes that a step needs, and nothing else. *Ratio*: time of the same networks one by
one in plain PyTorch (autograd, `torch.optim.AdamW`, the faster of one thread and all) over that of
the stacks. Medians of paired rounds.
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
from compute.grokking.modular_setting import Setting as AdderSetting
from compute.parity_problem import Problem, Setting
from compute.sparse_parity import ParityNetworks

PARITY, WIDTH, ARCHITECTURE = Problem(), 150, Architecture(p=53)


@dataclass(frozen=True)
class Product:
    """A layer: rows times [a, b]; the gradient of its input is needed or not."""

    rows: int
    a: int
    b: int
    has_input_gradient: bool = True

    def flop(self) -> float:
        """Return floating-point operations of its products for one network."""
        return 2.0 * self.rows * self.a * self.b * (3 if self.has_input_gradient else 2)


@dataclass(frozen=True)
class Sweep:
    """What is timed.

    Attributes:
        products: of one network and step.
        stack: makes so many networks.
        alone: trains one network in plain PyTorch for so many steps.
    """

    name: str
    products: Sequence[Product]
    stack: Callable[[int], tuple[Networks, Trainer]]
    alone: Callable[[int], None]


def _training(networks: ParityNetworks | ModularAdditionNetworks, steps: int) -> Trainer:
    train_config = TrainConfig(steps, {}, (), torch.zeros(0, dtype=torch.int64).numpy())
    return Trainer(networks, networks.optimizer(), train_config)


def _parity(steps: int, device: str) -> Sweep:
    rows, inputs = Setting().batch_size, PARITY.tasks + PARITY.bits

    def stack(count: int) -> tuple[Networks, Trainer]:
        settings = [Setting(seed=seed) for seed in range(count)]
        networks = ParityNetworks(PARITY, WIDTH, settings, device=device)
        return networks, _training(networks, steps)

    def alone(n_steps: int) -> None:
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
    return Sweep("sparse parity", products, stack, alone)


class PlainAdder(nn.Module):
    """The transformer with all three positions, as one writes it."""

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


def _adder(steps: int, device: str) -> Sweep:
    setting = AdderSetting(train_fraction=0.5)
    rows, p = n_train(ARCHITECTURE.p, setting.train_fraction), ARCHITECTURE.p
    d, m = ARCHITECTURE.d_model, ARCHITECTURE.d_mlp

    def stack(count: int) -> tuple[Networks, Trainer]:
        settings = [AdderSetting(train_fraction=0.5, seed=seed) for seed in range(count)]
        networks = ModularAdditionNetworks(ARCHITECTURE, settings, device)
        return networks, _training(networks, steps)

    def alone(n_steps: int) -> None:
        model = PlainAdder().to(device)
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
    return Sweep("modular addition", products, stack, alone)


def settle(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device != "cpu":
        torch.cuda.synchronize()


def products_alone(
    products: Sequence[Product], count: int, steps: int, n_threads: int, device: str
) -> float:
    """Return operations a second of batched products of these shapes and nothing else."""

    def work(_: int) -> None:
        torch.set_num_threads(1)
        made = [
            (
                one,
                torch.randn(count, one.rows, one.a, device=device),
                torch.randn(count, one.a, one.b, device=device),
                torch.randn(count, one.rows, one.b, device=device),
            )
            for one in products
        ]
        outs = [
            (torch.empty_like(s), torch.empty_like(W), torch.empty_like(x)) for _, x, W, s in made
        ]
        for _ in range(steps):
            for (one, x, W, slope), (y, of_W, of_x) in zip(made, outs, strict=True):
                torch.bmm(x, W, out=y)
                torch.bmm(x.transpose(1, 2), slope, out=of_W)
                if one.has_input_gradient:
                    torch.bmm(slope, W.transpose(1, 2), out=of_x)

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, range(n_threads)))
    settle(device)
    flop = n_threads * count * steps * sum(one.flop() for one in products)
    return flop / (time.perf_counter() - start)


def stacks(sweep: Sweep, count: int, n_threads: int, device: str) -> float:
    """Return seconds of training so many networks on every thread."""
    made = [sweep.stack(count)[1] for _ in range(n_threads)]

    def work(training: Trainer) -> None:
        torch.set_num_threads(1)
        training.train()

    start = time.perf_counter()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, made))
    settle(device)
    return time.perf_counter() - start


def one_by_one(sweep: Sweep, steps: int, n_threads: int, device: str) -> float:
    """Return seconds of one network in plain PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    sweep.alone(3)
    start = time.perf_counter()
    sweep.alone(steps)
    settle(device)
    spent = time.perf_counter() - start
    torch.set_num_threads(before)
    return spent


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--stack", type=int, default=4, help="networks of a stack")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; one stack on a GPU")
    asked = parser.parse_args()
    device, threads = asked.device, asked.threads if asked.device == "cpu" else 1
    for sweep in (_parity(asked.steps, device), _adder(asked.steps, device)):
        flop = threads * asked.stack * asked.steps * sum(p.flop() for p in sweep.products)
        shares, ratios, rates = [], [], []
        stacks(sweep, 1, 1, device)  # compiles
        for _ in range(asked.rounds):
            spent = stacks(sweep, asked.stack, threads, device)
            floor = products_alone(sweep.products, asked.stack, asked.steps, threads, device)
            alone = (
                asked.stack
                * threads
                * min(one_by_one(sweep, asked.steps, n, device) for n in {1, threads})
            )
            rates.append(flop / spent)
            shares.append(flop / spent / floor)
            ratios.append(alone / spent)
        print(
            f"{sweep.name}: {threads} x {asked.stack} networks, "
            f"{statistics.median(rates) / 1e9:.1f} GFLOP/s, "
            f"{statistics.median(shares):.0%} of the products' own rate, "
            f"{statistics.median(ratios):.1f} times plain PyTorch one by one"
        )


if __name__ == "__main__":
    main()
