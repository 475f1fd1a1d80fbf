"""Runs of Omnigrok: their networks, the reduced landscape over the norm, weight decay by time.

Source: arXiv:2210.01117. The loss of a point of the landscape is the best along training for
MNIST, the last one otherwise, as published, unless asked for otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, cast

import numpy as np

from backend.errors import InvalidInputError, NotFoundError
from backend.experiments.queries import experiment
from backend.experiments.views import CellRow, ExperimentRow, Phase
from backend.store.database import Store
from compute.grokking.phases import phase_labels

OMNIGROK = "omnigrok"
# The Goldilocks zone: test losses up to this factor above the lowest.
ZONE_FACTOR = 2.0
Kept = Literal["best", "final"]


@dataclass(frozen=True)
class OmnigrokCell:
    """One network; numbers are None while it is not finished, steps also if never reached.

    `phase` is its label at the published gap; `test_only` flags a test step alone.
    """

    cell: int
    alpha: float
    weight_decay: float
    n_train: int
    seed: int
    phase: Phase | None
    test_only: bool
    train_step: int | None
    test_step: int | None
    train_loss: float | None
    test_loss: float | None
    test_accuracy: float | None
    initial_norm: float | None
    final_norm: float | None
    test_norm: float | None


@dataclass(frozen=True)
class LandscapePoint:
    """One initial size: medians over seeds of the losses on its sphere."""

    alpha: float
    norm: float
    train_loss: float
    test_loss: float


@dataclass(frozen=True)
class Landscape:
    """The reduced landscape of one data size.

    `zone` holds the alphas around the lowest test loss where it is at most twice that.
    """

    n_train: int
    kept: Kept
    points: tuple[LandscapePoint, ...]
    best: LandscapePoint
    zone: tuple[float, float]


@dataclass(frozen=True)
class DecayPoint:
    """One weight decay: when it generalised, and when its norm alone would be at `norm`."""

    cell: int
    weight_decay: float
    seed: int
    is_finished: bool
    train_step: int | None
    test_step: int | None
    product: float | None
    norm: float | None
    predicted_step: float | None


@dataclass(frozen=True)
class DecayLaw:
    """Weight decay by time at one initial size: decay x step stays the same.

    `critical_norm` is the median norm at which test accuracy was reached; decay alone,
    w0 exp(-lr wd t), is there after `rate` / wd steps, rate = ln(w0 / w_c) / lr.
    """

    alpha: float
    n_train: int
    learning_rate: float
    initial_norm: float | None
    critical_norm: float | None
    rate: float | None
    points: tuple[DecayPoint, ...]

    @property
    def is_begun(self) -> bool:
        """Whether there is a point to draw."""
        return any(point.train_step or point.test_step for point in self.points)


@dataclass(frozen=True)
class OmnigrokView:
    """A run at one size of its data; `sizes` are all that it has."""

    experiment: ExperimentRow
    sizes: tuple[int, ...]
    n_train: int
    train_threshold: float
    test_threshold: float
    cells: tuple[OmnigrokCell, ...]
    landscape: Landscape | None
    law: DecayLaw | None


def omnigrok(
    store: Store, name: str, n_train: int | None = None, kept: Kept | None = None
) -> OmnigrokView:
    """Return a run at a size of its data, by default the first, with a loss of the landscape.

    Raises:
        NotFoundError: there is no such run of Omnigrok.
        InvalidInputError: it has no such size.
    """
    detail = experiment(store, name)
    row = detail.experiment
    if row.kind != OMNIGROK:
        raise NotFoundError(f"experiment {name} is no run of Omnigrok", f"See {row.page}")
    asked = row.parameters
    sizes = tuple(asked["n_train"])
    size = sizes[0] if n_train is None else n_train
    if size not in sizes:
        raise InvalidInputError(
            f"n_train {size}", f"Choose from {', '.join(map(str, sizes))}", "n_train"
        )
    kept = kept or ("best" if asked["data"] == "mnist" else "final")
    some = [one for one in detail.cells if one.place["n_train"] == size]
    found = [_cell(one, kept, asked["steps"]) for one in some]
    cells = tuple(sorted(found, key=lambda one: (one.alpha, one.weight_decay, one.seed)))
    return OmnigrokView(
        experiment=row,
        sizes=sizes,
        n_train=size,
        train_threshold=asked["train_threshold"],
        test_threshold=asked["test_threshold"],
        cells=cells,
        landscape=landscape_of(cells, size, kept) if asked["on_sphere"] else None,
        law=None if asked["on_sphere"] else law_of(cells, size, asked["learning_rate"]),
    )


def _phase(summary: Mapping[str, Any], steps: int) -> tuple[Phase, bool]:
    reached = [
        np.array([steps - 1 if summary[name] is None else summary[name]])
        for name in ("train_step", "test_step")
    ]
    labels = phase_labels(reached[0], reached[1], steps)
    return cast(Phase, str(labels.phases[0])), bool(labels.test_only[0])


def _cell(row: CellRow, kept: Kept, steps: int) -> OmnigrokCell:
    found: dict[str, Any] = row.summary or {}
    phase, test_only = _phase(found, steps) if found else (None, False)
    return OmnigrokCell(
        cell=row.cell,
        **row.place,
        phase=phase,
        test_only=test_only,
        train_step=found.get("train_step"),
        test_step=found.get("test_step"),
        train_loss=found.get(f"{kept}_train_loss"),
        test_loss=found.get(f"{kept}_test_loss"),
        test_accuracy=found.get("final_test_accuracy"),
        initial_norm=found.get("initial_norm"),
        final_norm=found.get("final_norm"),
        test_norm=found.get("test_norm"),
    )


def landscape_of(cells: Sequence[OmnigrokCell], n_train: int, kept: Kept) -> Landscape | None:
    """Return the landscape of networks on spheres, None before one of them is finished."""
    by_alpha: dict[float, list[tuple[float, float, float]]] = {}
    for one in cells:
        train, test, norm = one.train_loss, one.test_loss, one.initial_norm
        if train is not None and test is not None and norm is not None:
            by_alpha.setdefault(one.alpha, []).append((norm, train, test))
    points = tuple(
        LandscapePoint(alpha, *(median(column) for column in zip(*found, strict=True)))
        for alpha, found in sorted(by_alpha.items())
    )
    if not points:
        return None
    at = min(range(len(points)), key=lambda i: points[i].test_loss)
    most = ZONE_FACTOR * points[at].test_loss
    low = high = at
    while low > 0 and points[low - 1].test_loss <= most:
        low -= 1
    while high < len(points) - 1 and points[high + 1].test_loss <= most:
        high += 1
    return Landscape(n_train, kept, points, points[at], (points[low].alpha, points[high].alpha))


def law_of(cells: Sequence[OmnigrokCell], n_train: int, rate: float) -> DecayLaw | None:
    """Return what the networks of the largest alpha say of decay and time.

    None where fewer than two weight decays above zero are compared.
    """
    alpha = max(one.alpha for one in cells)
    some = [one for one in cells if one.alpha == alpha and one.weight_decay > 0]
    if len({one.weight_decay for one in some}) < 2:
        return None
    starts = [one.initial_norm for one in some if one.initial_norm is not None]
    ends = [one.test_norm for one in some if one.test_norm is not None]
    start, end = (median(norms) if norms else None for norms in (starts, ends))
    known = start is not None and end is not None and start > end > 0 and rate > 0
    factor = math.log(start / end) / rate if known and start and end else None
    points = tuple(
        DecayPoint(
            cell=one.cell,
            weight_decay=one.weight_decay,
            seed=one.seed,
            is_finished=one.phase is not None,
            train_step=one.train_step,
            test_step=one.test_step,
            product=None if one.test_step is None else one.weight_decay * one.test_step,
            norm=one.test_norm,
            predicted_step=None if factor is None else factor / one.weight_decay,
        )
        for one in sorted(some, key=lambda one: (one.weight_decay, one.seed))
    )
    return DecayLaw(alpha, n_train, rate, start, end, factor, points)
