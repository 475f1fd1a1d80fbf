"""Phase labels: the published rule, its two open cases, and the margins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.grokking.phases import PHASES, margins, phase_labels

S = 10_000


def label(train: int, test: int, gap: int = 1_000) -> tuple[str, bool]:
    labels = phase_labels(np.array([train]), np.array([test]), S, gap)
    return str(labels.phases[0]), bool(labels.test_only[0])


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


@given(st.integers(0, S - 2), st.integers(0, S - 2))
def test_the_margin_is_the_smallest_change_that_changes_the_phase(train: int, test: int) -> None:
    margin = int(margins(np.array([train]), np.array([test]), S)[0])

    def labels_after(change: int) -> list[tuple[str, bool]]:
        shifts = ((change, 0), (-change, 0), (0, change), (0, -change))
        steps_after = [(train + a, test + b) for a, b in shifts]
        return [label(*after) for after in steps_after if min(after) >= 0 and max(after) < S]

    assert margin >= 0
    if margin:
        assert set(labels_after(margin - 1)) == {label(train, test)}
    # A delay of exactly the gap is grokking: comprehension starts one step below.
    assert {*labels_after(margin), *labels_after(margin + 1)} != {label(train, test)}


def test_counts_add_up_to_the_cells() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, S, (2, 30, 40))
    counts = phase_labels(train, test, S).counts()
    assert sum(counts[phase] for phase in PHASES) == 30 * 40
    assert counts["test_only"] <= counts["X"]


@pytest.mark.parametrize(
    ("train", "test", "budget", "gap", "message"),
    [
        ([1], [1, 2], S, 1, "want equal shapes"),
        ([1], [-1], S, 1, "count from 0"),
        ([1], [1], 1, 1, "budget 1"),
        ([1], [1], S, 0, "gap 0"),
    ],
)
def test_invalid_steps_are_rejected(
    train: list[int], test: list[int], budget: int, gap: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        phase_labels(np.array(train), np.array(test), budget, gap)
