"""Training many networks side by side: steps, looks, thresholds, early stop, checkpoints.

A stack of networks takes its steps together. Before every `look_every`-th step all are looked at;
a network that has nothing more to show leaves the stack, which goes on smaller. What a network
does never depends on who shares its stack.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from compute.ensembles.adamw import StackedAdamW
from compute.ensembles.patience import Patience, Rises

WATCH_SECONDS = 0.1
RELEASE_EVERY = 50

Watch = Callable[[int, int], None]
"""Called with the step and the number of networks that still train; it may raise to cancel."""


class Networks(ABC):
    """A stack of networks with their data."""

    @property
    @abstractmethod
    def leaves(self) -> list[Tensor]:
        """Parameters, each a stack [networks, ...]."""

    @property
    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """Gradients of the training loss at the step last prepared, in the order of the leaves."""

    @abstractmethod
    def prepare(self, step: int) -> None:
        """Compute the gradients at a step."""

    @abstractmethod
    def looks(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures of the networks as they are before a step, by name."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Go on with some of the networks."""

    def after_step(self) -> None:  # noqa: B027
        """Do what follows a step: nothing, or a projection."""


def squares(leaves: Sequence[Tensor]) -> Float[Tensor, " networks"]:
    """Return the sum of all squared parameters of every network.

    As products: a sum's order, and with it the last digit, depends on how many are summed.
    """
    flat = [leaf.flatten(1) for leaf in leaves]
    total = torch.bmm(flat[0][:, None, :], flat[0][:, :, None])
    for one in flat[1:]:
        total = total + torch.bmm(one[:, None, :], one[:, :, None])
    return total[:, 0, 0]


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Take numbers under 1e-38 as zero in this thread, and no longer than in the block.

    Second moments of dead units fade below that, where a CPU is a hundred times slower.
    """
    was = 5e-324 * float(np.ones(1)[0]) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was)


@dataclass(frozen=True)
class Threshold:
    """A measure that is reached once it is at or above a value."""

    measure: str
    at_least: float


@dataclass(frozen=True)
class Regime:
    """How a stack is trained and looked at.

    Attributes:
        steps: budget S; what is not reached within it counts as S - 1.
        thresholds: whose first step is sought, by name.
        look_every: steps between looks at the thresholds' measures.
        log: steps at which all of `measures` are kept, rising.
        measures: what is kept then.
        stop_after: thresholds after all of which a network has no more to show; none: train on.
        linger: steps that it goes on after that, for its curve to be seen.
        warmup: steps in which the learning rates rise from 0.
        patience: when a network is let go because its measure keeps rising; None: never.
    """

    steps: int
    thresholds: Mapping[str, Threshold]
    measures: Sequence[str]
    log: Int[np.ndarray, " looks"]
    look_every: int = 1
    stop_after: Sequence[str] = ()
    linger: int = 0
    warmup: int = 0
    patience: Patience | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a budget or an interval that means nothing."""
        if self.steps < 2 or self.look_every < 1 or self.linger < 0 or self.warmup < 0:
            raise ValueError(
                f"steps {self.steps}, look_every {self.look_every}, linger {self.linger}, "
                f"warmup {self.warmup}: want at least 2, 1, 0 and 0"
            )
        if len(self.log) and (self.log[0] < 0 or (np.diff(self.log) <= 0).any()):
            raise ValueError("log: steps must rise from 0 or later")
        if unknown := set(self.stop_after) - set(self.thresholds):
            raise ValueError(f"stop_after names {sorted(unknown)}, which are no thresholds")


def log_steps(steps: int, looks: int) -> Int[np.ndarray, " looks"]:
    """Return steps to log at: 0, then evenly over the logarithm, then the last; about `looks`."""
    spaced = np.unique(np.geomspace(1, steps - 1, max(2, looks)).round().astype(np.int64))
    return np.concatenate([[0], spaced])


@dataclass
class Record:
    """What a stack showed; a row is a network.

    Attributes:
        reached: first step of every threshold by name, S - 1 if never.
        stopped: step before which the network left the stack; S if it stayed.
        curves: measures by name [networks, looks, ...], NaN after it had left; float32 where they
            were measured so.
        leaves: parameters at the end.
    """

    reached: dict[str, Int[np.ndarray, " networks"]]
    stopped: Int[np.ndarray, " networks"]
    curves: dict[str, Float[np.ndarray, "networks looks ..."]]
    leaves: list[Tensor] = field(default_factory=list)


class Training:
    """One stack in training; `run` goes on from wherever it is."""

    def __init__(self, networks: Networks, optimizer: StackedAdamW, regime: Regime) -> None:
        count = len(networks.leaves[0])
        self.networks, self.optimizer, self.regime = networks, optimizer, regime
        self.step = 0
        self.rows = np.arange(count)
        self.record = Record(
            {name: np.full(count, regime.steps - 1) for name in regime.thresholds},
            np.full(count, regime.steps),
            {},
            [leaf.clone() for leaf in networks.leaves],
        )
        # The last network never goes on alone: products of a stack of one round another way, and
        # what it does would depend on when the others stopped. Another keeps it company, unseen.
        self._company: int | None = None
        self._rises = Rises(regime.patience, count) if regime.patience else None
        self._names = list(regime.thresholds)
        self._wanted = [threshold.measure for threshold in regime.thresholds.values()]
        at_least = [[threshold.at_least] for threshold in regime.thresholds.values()]
        device = networks.leaves[0].device
        self._at_least = torch.tensor(at_least, dtype=networks.leaves[0].dtype, device=device)
        # On the device, so that a look does not wait for it.
        self._reached = torch.full((len(self._names), count), regime.steps - 1, device=device)

    def run(self, until: int | None = None, watch: Watch | None = None) -> Record:
        """Train to a step, the budget's last if None, and return what was seen.

        Args:
            until: step before which to stop, at most the budget.
            watch: called every tenth of a second; what it raises ends the run between two steps.
        """
        end = min(self.regime.steps, until if until is not None else self.regime.steps)
        called = -math.inf
        with _flushed_denormals():
            while self.step < end and len(self.rows):
                if watch and time.monotonic() - called >= WATCH_SECONDS:
                    called = time.monotonic()
                    watch(self.step, len(self.rows))
                self._take_step()
        self._put_back(np.arange(len(self.rows)))
        return self.record

    def _take_step(self) -> None:
        regime = self.regime
        self.networks.prepare(self.step)
        self._log()
        if self._names and (self.step % regime.look_every == 0 or self.step == regime.steps - 1):
            self._look()
        done = self._spent()
        factor = min(1.0, (self.step + 1) / regime.warmup) if regime.warmup else 1.0
        self.optimizer.step(self.networks.gradients, factor)
        self.networks.after_step()
        self.step += 1
        if regime.stop_after and self.step % RELEASE_EVERY == 0:
            done = done | self._shown()
        if done.any():
            self._let_go(done)

    def _log(self) -> None:
        place = int(np.searchsorted(self.regime.log, self.step))
        if place < len(self.regime.log) and self.regime.log[place] == self.step:
            seen = self.networks.looks(self.step, self.regime.measures)
            for name, values in seen.items():
                mine = values[: len(self.rows)].cpu().numpy()
                self._curve(name, values)[self.rows, place] = mine

    def _curve(self, name: str, like: Tensor) -> Float[np.ndarray, "networks looks ..."]:
        curves, count = self.record.curves, len(self.record.stopped)
        if name not in curves:
            # No wider than what was seen: all parameters at every look are many.
            dtype = np.float32 if like.dtype == torch.float32 else np.float64
            shape = (count, len(self.regime.log), *like.shape[1:])
            curves[name] = np.full(shape, np.nan, dtype)
        return curves[name]

    def _look(self) -> None:
        seen = self.networks.looks(self.step, self._wanted)
        values = torch.stack([seen[name][: len(self.rows)] for name in self._wanted])
        now = torch.where(values >= self._at_least, self.step, self.regime.steps - 1)
        torch.minimum(self._reached, now, out=self._reached)

    def _spent(self) -> Bool[np.ndarray, " networks"]:
        """Return which networks have used up their patience at this step."""
        rises = self._rises
        if rises is None or not rises.is_due(self.step):
            return np.zeros(len(self.rows), bool)
        measure = rises.patience.measure
        seen = self.networks.looks(self.step, [measure])[measure]
        return rises.spent(self.step, seen[: len(self.rows)].double().cpu().numpy())

    def _shown(self) -> Bool[np.ndarray, " networks"]:
        """Return which networks have reached all that was asked of them, and lingered."""
        reached = self._reached.cpu().numpy()
        last = reached[[self._names.index(name) for name in self.regime.stop_after]].max(axis=0)
        done: Bool[np.ndarray, " networks"] = (last < self.regime.steps - 1) & (
            self.step > last + self.regime.linger
        )
        return done

    def _let_go(self, done: Bool[np.ndarray, " networks"]) -> None:
        self._put_back(np.flatnonzero(done))
        self.record.stopped[self.rows[done]] = self.step
        stay, device = np.flatnonzero(~done), self.networks.leaves[0].device
        gone = np.flatnonzero(done)[:1]
        if len(stay) == 1:
            self._company = int(self.rows[gone[0]])
        self.rows = self.rows[stay]
        self._reached = self._reached[:, torch.as_tensor(stay, device=device)]
        if self._rises:
            self._rises.keep(stay)
        if not len(stay):  # the run is over: a stack of nothing has no shape
            return
        kept = stay if len(stay) > 1 else np.concatenate([stay, gone])
        chosen = torch.as_tensor(kept, device=device)
        self.networks.keep(chosen)
        self.optimizer.keep(chosen, self.networks.leaves)

    def _put_back(self, places: Int[np.ndarray, " n"]) -> None:
        rows = self.rows[places]
        for name, values in zip(self._names, self._reached.cpu().numpy(), strict=True):
            self.record.reached[name][rows] = values[places]
        for whole, leaf in zip(self.record.leaves, self.networks.leaves, strict=True):
            target = torch.as_tensor(rows, device=leaf.device)
            whole[target] = leaf[torch.as_tensor(places, device=leaf.device)]

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs to go on exactly here, as tensors for safetensors."""
        means = zip(self.optimizer.first, self.optimizer.second, strict=True)
        record = self.record
        return {
            "step": torch.tensor(self.step),
            "optimizer_steps": torch.tensor(self.optimizer.steps),
            "rows": torch.from_numpy(self.rows.copy()),
            "company": torch.tensor(-1 if self._company is None else self._company),
            "open": self._reached.cpu().clone(),
            "stopped": torch.from_numpy(record.stopped.copy()),
            **(self._rises.state() if self._rises else {}),
            **{f"leaf.{i}": leaf.cpu().clone() for i, leaf in enumerate(self.networks.leaves)},
            **{f"end.{i}": leaf.cpu().clone() for i, leaf in enumerate(record.leaves)},
            **{
                f"mean.{i}.{j}": m.cpu().clone()
                for i, both in enumerate(means)
                for j, m in enumerate(both)
            },
            **{f"reached.{name}": torch.from_numpy(v.copy()) for name, v in record.reached.items()},
            **{f"curve.{name}": torch.from_numpy(v.copy()) for name, v in record.curves.items()},
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of an equal training that had just begun, in place of the start.

        Raises:
            ValueError: the state is of other networks, or of a training without patience.
        """
        if self._rises and not self._rises.state().keys() <= state.keys():
            raise ValueError("the state is of a training without patience; start anew")
        shapes = [tuple(state[f"end.{i}"].shape) for i in range(len(self.record.leaves))]
        if shapes != [tuple(leaf.shape) for leaf in self.record.leaves]:
            raise ValueError(f"the state is of networks of shapes {shapes}; start anew")
        self.step = int(state["step"])
        self.rows = state["rows"].numpy().copy()
        device = self.networks.leaves[0].device
        self._company = int(state["company"]) if int(state["company"]) >= 0 else None
        beside = [] if self._company is None else [self._company]
        chosen = torch.as_tensor([*self.rows.tolist(), *beside], device=device)
        if len(self.rows):  # else the run was over
            self._restore_stack(state, chosen)
        self._reached = state["open"].to(device)
        if self._rises:
            self._rises.restore(state)
        record = self.record
        record.stopped = state["stopped"].numpy().copy()
        record.leaves = [state[f"end.{i}"].to(device) for i in range(len(shapes))]
        for name in record.reached:
            record.reached[name] = state[f"reached.{name}"].numpy().copy()
        for key, values in state.items():
            if key.startswith("curve."):
                record.curves[key.removeprefix("curve.")] = values.numpy().copy()

    def _restore_stack(self, state: Mapping[str, Tensor], chosen: Tensor) -> None:
        if len(self.rows) < len(self.record.stopped):
            self.networks.keep(chosen)
        for i, leaf in enumerate(self.networks.leaves):
            leaf.copy_(state[f"leaf.{i}"])
        self.optimizer.keep(chosen, self.networks.leaves)
        self.optimizer.steps = int(state["optimizer_steps"])
        for i, both in enumerate(zip(self.optimizer.first, self.optimizer.second, strict=True)):
            for j, mean in enumerate(both):
                mean.copy_(state[f"mean.{i}.{j}"])
