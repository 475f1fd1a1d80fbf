"""Train a stack of networks together: steps, evaluations, thresholds, early stopping, checkpoints.

All networks of a stack take each step in one batched call. A network that has reached its
thresholds, or stops early, is dropped from the stack. A network's results do not depend on the
other networks of its stack.
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
from compute.ensembles.early_stopping import EarlyStopping, RiseCounter

PROGRESS_SECONDS = 0.1
DROP_EVERY = 50

ProgressCallback = Callable[[int, int], None]
"""Called with the step and the number of networks in training; raises to cancel."""


class Networks(ABC):
    """A stack of networks with their data."""

    @property
    @abstractmethod
    def params(self) -> list[Tensor]:
        """Parameters, each a stack [networks, ...]."""

    @property
    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """Gradients of the training loss at the last prepared step, in the order of `params`."""

    @abstractmethod
    def prepare(self, step: int) -> None:
        """Compute the gradients at a step."""

    @abstractmethod
    def evaluate(
        self, step: int, names: Sequence[str]
    ) -> Mapping[str, Float[Tensor, "networks *rest"]]:
        """Return measures by name, before the update of a step."""

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Replace the stack by some of its rows; a row may be repeated."""

    def after_step(self) -> None:  # noqa: B027
        """Project the parameters after an update; does nothing by default."""


def squared_norm(params: Sequence[Tensor]) -> Float[Tensor, " networks"]:
    """Return the sum of all squared parameters of every network.

    Computed by bmm: the rounding of a sum depends on the number of networks.
    """
    flat = [param.flatten(1) for param in params]
    total = torch.bmm(flat[0][:, None, :], flat[0][:, :, None])
    for param in flat[1:]:
        total = total + torch.bmm(param[:, None, :], param[:, :, None])
    return total[:, 0, 0]


def stack_params(
    networks: Sequence[Sequence[Tensor]], device: str, dtype: torch.dtype
) -> list[Tensor]:
    """Stack the parameters of single networks to [networks, ...]."""
    return [torch.stack(parts).to(device, dtype) for parts in zip(*networks, strict=True)]


def rescale_to_sphere(
    params: Sequence[Tensor],
    norms: Float[Tensor, " networks"],
    on_sphere: Bool[Tensor, " networks"],
) -> None:
    """Rescale the parameters of some networks to their initial norms, in place."""
    if on_sphere.any():
        factor = torch.where(on_sphere, norms / squared_norm(params).sqrt(), 1.0)
        for param in params:
            param.mul_(factor[:, None, None])


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run each thread's products single-threaded: small products gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers to zero in this thread, within the block.

    Second moments of dead units become denormal, which slows a CPU down a hundredfold.
    """
    was_flushing = 5e-324 * float(np.ones(1)[0]) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushing)


@dataclass(frozen=True)
class Threshold:
    """A threshold, reached at the first step at which a measure is at least a minimum."""

    measure: str
    minimum: float


@dataclass(frozen=True)
class TrainConfig:
    """Training settings of a stack.

    Attributes:
        steps: budget S; a threshold that is not reached is recorded as S - 1.
        thresholds: thresholds by name.
        measures: measures to record.
        eval_steps: steps at which `measures` are recorded, ascending.
        eval_every: steps between evaluations of the thresholds.
        stop_thresholds: names of the thresholds that end a network's training once all are
            reached; empty: train for the whole budget.
        stop_delay: steps to train on after that, so that curves show what follows.
        warmup: steps of linear learning-rate warm-up.
        early_stopping: criterion of early stopping; None: no early stopping.
    """

    steps: int
    thresholds: Mapping[str, Threshold]
    measures: Sequence[str]
    eval_steps: Int[np.ndarray, " evals"]
    eval_every: int = 1
    stop_thresholds: Sequence[str] = ()
    stop_delay: int = 0
    warmup: int = 0
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range."""
        if self.steps < 2 or self.eval_every < 1 or self.stop_delay < 0 or self.warmup < 0:
            raise ValueError(
                f"steps {self.steps}, eval_every {self.eval_every}, stop_delay {self.stop_delay}, "
                f"warmup {self.warmup}: want at least 2, 1, 0 and 0"
            )
        eval_steps = self.eval_steps
        if len(eval_steps) and (eval_steps[0] < 0 or (np.diff(eval_steps) <= 0).any()):
            raise ValueError("eval_steps must be ascending and at least 0")
        if unknown := set(self.stop_thresholds) - set(self.thresholds):
            raise ValueError(f"stop_thresholds {sorted(unknown)} are not in thresholds")


def log_spaced_steps(steps: int, count: int) -> Int[np.ndarray, " evals"]:
    """Return 0 and about `count` log-spaced steps up to the last."""
    spaced = np.unique(np.geomspace(1, steps - 1, max(2, count)).round().astype(np.int64))
    return np.concatenate([[0], spaced])


@dataclass
class TrainResult:
    """Results of training a stack; rows are networks.

    Attributes:
        threshold_steps: first step at each threshold by name, S - 1 if it is not reached.
        stop_steps: number of steps that the network took; S if it was not dropped.
        curves: measures by name [networks, evals, ...], NaN after the network was dropped;
            float32 or float64 as evaluated.
        params: final parameters.
    """

    threshold_steps: dict[str, Int[np.ndarray, " networks"]]
    stop_steps: Int[np.ndarray, " networks"]
    curves: dict[str, Float[np.ndarray, "networks evals ..."]]
    params: list[Tensor] = field(default_factory=list)


def _pad_to_two(rows: Int[np.ndarray, " networks"]) -> Int[np.ndarray, " padded"]:
    """Repeat a single row: bmm rounds differently for a batch of one."""
    return np.repeat(rows, 2) if len(rows) == 1 else rows


class Trainer:
    """Trains one stack of networks, resumable between any two steps.

    Attributes:
        step: next step.
        rows: rows of the result that are still in training, in the order of the stack.
        result: results so far.
    """

    def __init__(self, networks: Networks, optimizer: StackedAdamW, config: TrainConfig) -> None:
        self.networks, self.optimizer, self.config = networks, optimizer, config
        count, device = len(networks.params[0]), networks.params[0].device
        self.step = 0
        self.rows = np.arange(count)
        self.result = TrainResult(
            {name: np.full(count, config.steps - 1) for name in config.thresholds},
            np.full(count, config.steps),
            {},
            [param.clone() for param in networks.params],
        )
        self._rises = RiseCounter(config.early_stopping, count) if config.early_stopping else None
        self._names = list(config.thresholds)
        self._measures = [threshold.measure for threshold in config.thresholds.values()]
        minima = [[threshold.minimum] for threshold in config.thresholds.values()]
        self._minima = torch.tensor(minima, dtype=networks.params[0].dtype, device=device)
        # On the device, so that an evaluation does not wait for a transfer.
        self._threshold_steps = torch.full(
            (len(self._names), count), config.steps - 1, device=device
        )
        if count == 1:
            self._select_rows(_pad_to_two(self.rows))

    def train(
        self, until: int | None = None, on_progress: ProgressCallback | None = None
    ) -> TrainResult:
        """Train up to a step and return the results so far.

        Args:
            until: step before which to stop (default: the budget).
            on_progress: called every `PROGRESS_SECONDS` between two steps; raises to cancel.
        """
        end = min(self.config.steps, until if until is not None else self.config.steps)
        called_at = -math.inf
        with _flushed_denormals():
            while self.step < end and len(self.rows):
                if on_progress and time.monotonic() - called_at >= PROGRESS_SECONDS:
                    called_at = time.monotonic()
                    on_progress(self.step, len(self.rows))
                self._take_step()
        self._write_result(np.arange(len(self.rows)))
        return self.result

    def _take_step(self) -> None:
        config = self.config
        self.networks.prepare(self.step)
        self._record_curves()
        if self._names and (self.step % config.eval_every == 0 or self.step == config.steps - 1):
            self._evaluate_thresholds()
        is_finished = self._is_out_of_patience()
        factor = min(1.0, (self.step + 1) / config.warmup) if config.warmup else 1.0
        self.optimizer.step(self.networks.gradients, factor)
        self.networks.after_step()
        self.step += 1
        if config.stop_thresholds and self.step % DROP_EVERY == 0:
            is_finished = is_finished | self._has_reached_thresholds()
        if is_finished.any():
            self._drop_finished(is_finished)

    def _record_curves(self) -> None:
        column = int(np.searchsorted(self.config.eval_steps, self.step))
        if column == len(self.config.eval_steps) or self.config.eval_steps[column] != self.step:
            return
        for name, values in self.networks.evaluate(self.step, self.config.measures).items():
            self._curve(name, values)[self.rows, column] = values[: len(self.rows)].cpu().numpy()

    def _curve(self, name: str, values: Tensor) -> Float[np.ndarray, "networks evals ..."]:
        curves, count = self.result.curves, len(self.result.stop_steps)
        if name not in curves:
            # Half the memory for float32: all parameters may be recorded at every step.
            dtype = np.float32 if values.dtype == torch.float32 else np.float64
            shape = (count, len(self.config.eval_steps), *values.shape[1:])
            curves[name] = np.full(shape, np.nan, dtype)
        return curves[name]

    def _evaluate_thresholds(self) -> None:
        measures = self.networks.evaluate(self.step, self._measures)
        values = torch.stack([measures[name][: len(self.rows)] for name in self._measures])
        steps = torch.where(values >= self._minima, self.step, self.config.steps - 1)
        torch.minimum(self._threshold_steps, steps, out=self._threshold_steps)

    def _is_out_of_patience(self) -> Bool[np.ndarray, " networks"]:
        rises = self._rises
        if rises is None or not rises.is_due(self.step):
            return np.zeros(len(self.rows), bool)
        monitor = rises.criterion.monitor
        values = self.networks.evaluate(self.step, [monitor])[monitor]
        return rises.update(self.step, values[: len(self.rows)].double().cpu().numpy())

    def _has_reached_thresholds(self) -> Bool[np.ndarray, " networks"]:
        """Return which networks reached all `stop_thresholds` more than `stop_delay` steps ago."""
        steps = self._threshold_steps.cpu().numpy()
        last = steps[[self._names.index(name) for name in self.config.stop_thresholds]].max(axis=0)
        is_done: Bool[np.ndarray, " networks"] = (last < self.config.steps - 1) & (
            self.step > last + self.config.stop_delay
        )
        return is_done

    def _drop_finished(self, is_finished: Bool[np.ndarray, " networks"]) -> None:
        self._write_result(np.flatnonzero(is_finished))
        self.result.stop_steps[self.rows[is_finished]] = self.step
        remaining = np.flatnonzero(~is_finished)
        self.rows = self.rows[remaining]
        self._threshold_steps = self._threshold_steps[
            :, torch.as_tensor(remaining, device=self._threshold_steps.device)
        ]
        if self._rises:
            self._rises.select(remaining)
        if len(remaining):  # an empty stack has no shape
            self._select_rows(_pad_to_two(remaining))

    def _select_rows(self, rows: Int[np.ndarray, " n"]) -> None:
        selected = torch.as_tensor(rows, device=self._threshold_steps.device)
        self.networks.select(selected)
        self.optimizer.select(selected, self.networks.params)

    def _write_result(self, places: Int[np.ndarray, " n"]) -> None:
        """Copy threshold steps and parameters of some places of the stack into the result."""
        rows = self.rows[places]
        for name, steps in zip(self._names, self._threshold_steps.cpu().numpy(), strict=True):
            self.result.threshold_steps[name][rows] = steps[places]
        for final, param in zip(self.result.params, self.networks.params, strict=True):
            target = torch.as_tensor(rows, device=param.device)
            final[target] = param[torch.as_tensor(places, device=param.device)]

    def state(self) -> dict[str, Tensor]:
        """Return everything that `restore` needs, as tensors for safetensors."""
        result, optimizer = self.result, self.optimizer
        lists = {
            "param": self.networks.params,
            "final": result.params,
            "exp_avg": optimizer.exp_avg,
            "exp_avg_sq": optimizer.exp_avg_sq,
        }
        arrays = {
            "rows": self.rows,
            "stop_steps": result.stop_steps,
            **{f"threshold_steps.{name}": v for name, v in result.threshold_steps.items()},
            **{f"curve.{name}": v for name, v in result.curves.items()},
        }
        return {
            "step": torch.tensor(self.step),
            "optimizer_steps": torch.tensor(optimizer.steps),
            "threshold_steps": self._threshold_steps.cpu().clone(),
            **(self._rises.state() if self._rises else {}),
            **{
                f"{key}.{i}": t.cpu().clone() for key, ts in lists.items() for i, t in enumerate(ts)
            },
            **{key: torch.from_numpy(array.copy()) for key, array in arrays.items()},
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from the state of a training with the same settings; call before the first step.

        Raises:
            ValueError: the state has other shapes, or none of early stopping.
        """
        if self._rises and not self._rises.state().keys() <= state.keys():
            raise ValueError("the state is of a training without early stopping; start anew")
        result, device = self.result, self._threshold_steps.device
        finals = [state[f"final.{i}"].to(device) for i in range(len(result.params))]
        shapes = [tuple(final.shape) for final in finals]
        if shapes != [tuple(param.shape) for param in result.params]:
            raise ValueError(f"the state is of networks of shapes {shapes}; start anew")
        self.step = int(state["step"])
        self.rows = state["rows"].numpy().copy()
        if len(self.rows):  # an empty stack has no shape
            self._restore_stack(state)
        self._threshold_steps = state["threshold_steps"].to(device)
        if self._rises:
            self._rises.restore(state)
        result.params = finals
        result.stop_steps = state["stop_steps"].numpy().copy()
        for name in result.threshold_steps:
            result.threshold_steps[name] = state[f"threshold_steps.{name}"].numpy().copy()
        for key, values in state.items():
            if key.startswith("curve."):
                result.curves[key.removeprefix("curve.")] = values.numpy().copy()

    def _restore_stack(self, state: Mapping[str, Tensor]) -> None:
        if len(self.rows) < len(self.result.stop_steps):
            self._select_rows(_pad_to_two(self.rows))
        optimizer = self.optimizer
        optimizer.steps = int(state["optimizer_steps"])
        for i, param in enumerate(self.networks.params):
            param.copy_(state[f"param.{i}"])
            optimizer.exp_avg[i].copy_(state[f"exp_avg.{i}"])
            optimizer.exp_avg_sq[i].copy_(state[f"exp_avg_sq.{i}"])
