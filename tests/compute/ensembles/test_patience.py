"""Patience: a network leaves at the look the rule names, alone or in company, cut off or not."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compute.ensembles.adamw import Rates, StackedAdamW
from compute.ensembles.patience import Patience, Rises
from compute.ensembles.trainer import Networks, Record, Regime, Training

STEPS = 60


class Scripted(Networks):
    """Networks of one parameter, which counts steps; their loss follows a script."""

    def __init__(self, losses: Sequence[Sequence[float]]) -> None:
        self.losses = torch.tensor(losses, dtype=torch.float64)
        self._leaf = torch.zeros(len(losses), 1, dtype=torch.float64)

    @property
    def leaves(self) -> list[Tensor]:
        return [self._leaf]

    @property
    def gradients(self) -> list[Tensor]:
        return [torch.full_like(self._leaf, -1)]

    def optimizer(self) -> StackedAdamW:
        ones = torch.ones(len(self._leaf), dtype=torch.float64)
        return StackedAdamW(self.leaves, [Rates(ones, 0 * ones)])

    def prepare(self, step: int) -> None:
        return None

    def looks(self, step: int, names: Sequence[str]) -> Mapping[str, Tensor]:
        return {name: self.losses[:, step] for name in names}

    def keep(self, rows: Tensor) -> None:
        self.losses, self._leaf = self.losses[rows], self._leaf[rows]


def expected_stop(losses: Sequence[float], patience: Patience) -> int:
    """The rule as published, look by look."""
    seen: list[float] = []
    triggers: list[bool] = []
    for step in range(STEPS):
        if step % patience.every == 0:
            seen.append(losses[step])
            rose = len(seen) > 1 and not seen[-1] <= seen[-2]
            triggers.append(rose and step > patience.after)
            if len(triggers) >= patience.rises and all(triggers[-patience.rises :]):
                return step + 1
    return STEPS


def trained(losses: Sequence[Sequence[float]], patience: Patience, until: int = STEPS) -> Record:
    """Networks with a patience, cut off once at `until`."""
    regime = Regime(STEPS, {}, ("loss",), np.arange(STEPS), patience=patience)
    networks = Scripted(losses)
    first = Training(networks, networks.optimizer(), regime)
    first.run(until=until)
    again = Scripted(losses)
    second = Training(again, again.optimizer(), regime)
    second.restore(first.state())
    return second.run()


losses = st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), min_size=STEPS, max_size=STEPS)
rising = st.integers(0, STEPS - 1).map(
    lambda low: [float(abs(step - low)) for step in range(STEPS)]
)
patiences = st.builds(
    Patience, st.just("loss"), st.integers(1, 4), st.integers(0, 20), st.integers(1, 7)
)


@given(st.lists(losses | rising, min_size=1, max_size=4), patiences, st.integers(0, STEPS))
def test_a_network_leaves_where_the_rule_says(
    scripts: list[list[float]], patience: Patience, until: int
) -> None:
    record = trained(scripts, patience, until)
    stops = [expected_stop(script, patience) for script in scripts]
    assert record.stopped.tolist() == stops
    for row, stop in enumerate(stops):
        seen = record.curves["loss"][row]
        assert np.array_equal(seen[:stop], np.array(scripts[row])[:stop], equal_nan=True)
        assert np.isnan(seen[stop:]).all()
        # It has taken every step before it left, and none after.
        assert record.leaves[0][row].item() == pytest.approx(stop)


def test_patience_and_thresholds_count_rises_after_a_step_alone() -> None:
    rises = Rises(Patience("loss", rises=2, after=10, every=5), 2)
    assert [rises.is_due(step) for step in (0, 4, 5, 12)] == [True, False, True, False]
    assert rises.spent(5, np.array([1.0, 1.0])).tolist() == [False, False]
    assert rises.spent(10, np.array([2.0, 2.0])).tolist() == [False, False]
    assert rises.spent(15, np.array([3.0, 3.0])).tolist() == [False, False]
    assert rises.spent(20, np.array([4.0, 3.0])).tolist() == [True, False]


def test_what_no_patience_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="rises 0"):
        Patience("loss", 0)
    networks = Scripted([[0.0] * STEPS])
    impatient = Training(
        networks, networks.optimizer(), Regime(STEPS, {}, (), np.arange(0))
    ).state()
    regime = Regime(STEPS, {}, (), np.arange(0), patience=Patience("loss", 1))
    patient = Training(networks, networks.optimizer(), regime)
    with pytest.raises(ValueError, match="without patience"):
        patient.restore(impatient)
