"""Grids of toy networks: cells from two axes, trained in groups, labelled with their phase.

Source: arXiv:2205.10343, section 4. A group is what one call trains together: on a CPU as many
networks as keep their parameters and means in a core's cache while its products run, on a GPU all.
Threads take groups, and each multiplies alone: two threads on one small product spend their time
waiting for each other.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int

from compute.ensembles.trainer import Record, Regime, Threshold, Training, Watch, log_steps
from compute.grokking.addition import Additions
from compute.grokking.grids import Grid, groups
from compute.grokking.phases import PUBLISHED_GAP, PhaseLabels, phase_labels
from compute.grokking.problems import Problem, Setting

CPU_GROUP = 8
CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "rqi", "representation")
THRESHOLDS = {
    "train": Threshold("train_accuracy", 0.9),
    "test": Threshold("test_accuracy", 0.9),
    # Above it, not at it: shares of parallelograms are further apart than this.
    "rqi": Threshold("rqi", 0.95 + 1e-6),
}


def regime(steps: int, *, looks: int = 80, stops: bool = True, linger: int = 200) -> Regime:
    """Return how cells are trained.

    Args:
        steps: budget S.
        looks: points of a curve, about.
        stops: let a cell go once its label is known.
        linger: steps that its curve goes on after that.
    """
    stop_after = ("train", "test") if stops else ()
    return Regime(
        steps, THRESHOLDS, CURVES, log_steps(steps, looks), stop_after=stop_after, linger=linger
    )


def train(
    problem: Problem,
    settings: Sequence[Setting],
    how: Regime,
    device: str = "cpu",
    watch: Watch | None = None,
) -> Record:
    """Train one group of cells."""
    networks = Additions(problem, settings, device)
    return Training(networks, networks.optimizer(), how).run(watch=watch)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let each thread of the block multiply alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_groups(
    problem: Problem,
    settings: Sequence[Setting],
    how: Regime,
    n_threads: int = 1,
    on_group: Callable[[range, Record], None] | None = None,
) -> list[Record]:
    """Train all cells on a CPU, group by group, several groups at a time.

    Args:
        problem: what the cells learn.
        settings: of the cells.
        how: they are trained.
        n_threads: groups at a time.
        on_group: called with the cells of each group that is done, by its thread.
    """

    def done(cells: range) -> Record:
        torch.set_num_threads(1)  # a setting of each thread
        record = train(problem, [settings[i] for i in cells], how)
        if on_group:
            on_group(cells, record)
        return record

    with one_thread(), ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(done, groups(len(settings), CPU_GROUP)))


@dataclass(frozen=True)
class PhaseDiagram:
    """Steps and phases of the cells of a grid, [rows, columns].

    Attributes:
        reached: first step of each threshold by name, S - 1 if never.
        labels: phases.
    """

    reached: dict[str, Int[np.ndarray, "rows columns"]]
    labels: PhaseLabels


def phase_diagram(
    grid: Grid, records: Sequence[Record], budget: int, gap: int = PUBLISHED_GAP
) -> PhaseDiagram:
    """Return the phases of a grid whose groups were trained in their order.

    Raises:
        ValueError: records of another number of cells.
    """
    reached = {
        name: np.concatenate([record.reached[name] for record in records]) for name in THRESHOLDS
    }
    count = grid.shape[0] * grid.shape[1]
    if len(reached["train"]) != count:
        raise ValueError(f"{len(reached['train'])} cells trained, the grid has {count}")
    shaped = {name: steps.reshape(grid.shape) for name, steps in reached.items()}
    labels = phase_labels(shaped["train"], shaped["test"], budget, gap)
    return PhaseDiagram(shaped, labels)
