"""Phase labels: the published rule, its two open cases, and the margins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.grokking.phases import PHASES, margins, phase_labels

S = 10_000


def label(train: int, test: int, gap: int = 1_000) -> tuple[str, bool]:
    found = phase_labels(np.array([train]), np.array([test]), S, gap)
    return str(found.phases[0]), bool(found.test_only[0])


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (500, 900, ("C", False)),
        (900, 500, ("C", False)),
        (500, 1_499, ("C", False)),
        (500, 1_500, ("G", False)),  # the gap itself counts as a delay
        (500, S - 2, ("G", False)),
        (500, S - 1, ("M", False)),
        (S - 2, S - 1, ("M", False)),
        (S - 1, S - 1, ("X", False)),
        (S - 1, 500, ("X", True)),
        (S + 5, S + 5, ("X", False)),
    ],
)
def test_a_cell_has_the_phase_of_its_steps(
    train: int, test: int, expected: tuple[str, bool]
) -> None:
    assert label(train, test) == expected


steps = st.integers(0, S - 1)


@given(steps, steps, st.integers(1, S))
def test_every_cell_has_one_phase_and_the_flag_only_in_confusion(
    train: int, test: int, gap: int
) -> None:
    phase, test_only = label(train, test, gap)
    assert phase in PHASES
    assert test_only == (train == S - 1 and test < S - 1)
    assert phase == "X" or not test_only


@given(steps, steps)
def test_a_change_under_the_margin_keeps_the_label(train: int, test: int) -> None:
    margin = int(margins(np.array([train]), np.array([test]), S)[0])
    assert margin >= 0
    for off in {-(margin - 1), margin - 1} if margin else set():
        for moved in ((train + off, test), (train, test + off)):
            if min(moved) >= 0 and max(moved) < S - 1 and train < S - 1 and test < S - 1:
                assert label(*moved) == label(train, test)


def test_counts_add_up_to_the_cells() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, S, (2, 30, 40))
    counts = phase_labels(train, test, S).counts()
    assert sum(counts[phase] for phase in PHASES) == 30 * 40
    assert counts["test_only"] <= counts["X"]


@pytest.mark.parametrize(
    ("train", "test", "budget", "gap", "said"),
    [
        ([1], [1, 2], S, 1, "want equal shapes"),
        ([1], [-1], S, 1, "count from 0"),
        ([1], [1], 1, 1, "budget 1"),
        ([1], [1], S, 0, "gap 0"),
    ],
)
def test_steps_that_mean_nothing_are_refused(
    train: list[int], test: list[int], budget: int, gap: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        phase_labels(np.array(train), np.array(test), budget, gap)
