"""Early stopping follows the published rule, in any stack and after a resume."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.early_stopping import EarlyStopping, RiseCounter
from compute.ensembles.trainer import Networks, TrainConfig, Trainer, TrainResult

STEPS = 60


class Scripted(Networks):
    """Networks of one parameter, which counts steps; their loss follows a script."""

    def __init__(self, losses: Sequence[Sequence[float]]) -> None:
        self.losses = torch.tensor(losses, dtype=torch.float64)
        self._param = torch.zeros(len(losses), 1, dtype=torch.float64)

    @property
    def params(self) -> list[Tensor]:
        return [self._param]

    @property
    def gradients(self) -> list[Tensor]:
        return [torch.full_like(self._param, -1)]

    def optimizer(self) -> StackedAdamW:
        ones = torch.ones(len(self._param), dtype=torch.float64)
        return StackedAdamW(self.params, [Rates(ones, 0 * ones)])

    def prepare(self, step: int) -> None:
        return None

    def evaluate(self, step: int, names: Sequence[str]) -> Mapping[str, Tensor]:
        return {name: self.losses[:, step] for name in names}

    def select(self, rows: Tensor) -> None:
        self.losses, self._param = self.losses[rows], self._param[rows]


def expected_stop(losses: Sequence[float], criterion: EarlyStopping) -> int:
    """Reference: the published rule, evaluation by evaluation."""
    curve: list[float] = []
    triggers: list[bool] = []
    for step in range(STEPS):
        if step % criterion.eval_every == 0:
            curve.append(losses[step])
            has_risen = len(curve) > 1 and not curve[-1] <= curve[-2]
            triggers.append(has_risen and step > criterion.start_step)
            if len(triggers) >= criterion.patience and all(triggers[-criterion.patience :]):
                return step + 1
    return STEPS


def train_with_resume(
    losses: Sequence[Sequence[float]], criterion: EarlyStopping, until: int = STEPS
) -> TrainResult:
    """Train with early stopping, resumed at `until`."""
    config = TrainConfig(STEPS, {}, ("loss",), np.arange(STEPS), early_stopping=criterion)
    networks = Scripted(losses)
    first = Trainer(networks, networks.optimizer(), config)
    first.train(until=until)
    resumed = Scripted(losses)
    second = Trainer(resumed, resumed.optimizer(), config)
    second.restore(first.state())
    return second.train()


losses = st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=STEPS, max_size=STEPS)
rising = st.integers(0, STEPS - 1).map(
    lambda low: [float(abs(step - low)) for step in range(STEPS)]
)
criteria = st.builds(
    EarlyStopping, st.just("loss"), st.integers(1, 4), st.integers(0, 20), st.integers(1, 7)
)


@given(st.lists(losses | rising, min_size=1, max_size=4), criteria, st.integers(0, STEPS))
def test_a_network_stops_at_the_step_of_the_published_rule(
    scripts: list[list[float]], criterion: EarlyStopping, until: int
) -> None:
    result = train_with_resume(scripts, criterion, until)
    stops = [expected_stop(script, criterion) for script in scripts]
    assert result.stop_steps.tolist() == stops
    for row, stop in enumerate(stops):
        curve = result.curves["loss"][row]
        assert np.array_equal(curve[:stop], np.array(scripts[row])[:stop], equal_nan=True)
        assert np.isnan(curve[stop:]).all()
        # The parameter counts the steps taken.
        assert result.params[0][row].item() == pytest.approx(stop)


def test_rises_count_after_the_start_step_only() -> None:
    rises = RiseCounter(EarlyStopping("loss", patience=2, start_step=10, eval_every=5), 2)
    assert [rises.is_due(step) for step in (0, 4, 5, 12)] == [True, False, True, False]
    assert rises.update(5, np.array([1.0, 1.0])).tolist() == [False, False]
    assert rises.update(10, np.array([2.0, 2.0])).tolist() == [False, False]
    assert rises.update(15, np.array([3.0, 3.0])).tolist() == [False, False]
    assert rises.update(20, np.array([4.0, 3.0])).tolist() == [True, False]


def test_invalid_early_stopping_is_rejected() -> None:
    with pytest.raises(ValueError, match="patience 0"):
        EarlyStopping("loss", 0)
    networks = Scripted([[0.0] * STEPS])
    impatient = Trainer(
        networks, networks.optimizer(), TrainConfig(STEPS, {}, (), np.arange(0))
    ).state()
    config = TrainConfig(STEPS, {}, (), np.arange(0), early_stopping=EarlyStopping("loss", 1))
    patient = Trainer(networks, networks.optimizer(), config)
    with pytest.raises(ValueError, match="without early stopping"):
        patient.restore(impatient)
