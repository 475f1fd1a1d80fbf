"""Queries about Omnigrok: networks of a run, the reduced landscape, weight decay against time.

Source: arXiv:2210.01117. As published, the loss of a point of the landscape is by default the
lowest of the training for MNIST, and that of the last step otherwise.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, cast

import numpy as np

from backend.errors import InvalidInputError
from backend.experiments.grokking.views import Phase
from backend.experiments.omnigrok import views
from backend.experiments.omnigrok.spec import OMNIGROK, CompleteOmnigrokParameters
from backend.experiments.queries import load_run
from backend.experiments.views import CellRow
from backend.store.database import Store
from compute.grokking.phases import phase_labels

# The Goldilocks zone: test losses up to this factor above the lowest.
ZONE_FACTOR = 2.0


def load_omnigrok_run(
    store: Store, experiment: str, n_train: int | None = None, loss: views.SphereLoss | None = None
) -> views.OmnigrokView:
    """Return a run at one training-set size, by default the first; default loss as published.

    Raises:
        NotFoundError: unknown run of Omnigrok.
        InvalidInputError: the run has no such size.
    """
    params: CompleteOmnigrokParameters
    detail, params = load_run(store, OMNIGROK, experiment)
    sizes = tuple(params.n_train)
    size = sizes[0] if n_train is None else n_train
    if size not in sizes:
        raise InvalidInputError(
            f"n_train {size}", f"Choose from {', '.join(map(str, sizes))}", "n_train"
        )
    loss = loss or ("best" if params.data == "mnist" else "final")
    networks = [_cell(c, loss, params.steps) for c in detail.cells if c.place["n_train"] == size]
    cells = tuple(sorted(networks, key=lambda cell: (cell.alpha, cell.weight_decay, cell.seed)))
    return views.OmnigrokView(
        experiment=detail.experiment,
        sizes=sizes,
        n_train=size,
        train_threshold=params.train_threshold,
        test_threshold=params.test_threshold,
        cells=cells,
        landscape=reduced_landscape(cells, size, loss) if params.on_sphere else None,
        law=None if params.on_sphere else decay_law(cells, size, params.learning_rate),
    )


def _phase(summary: Mapping[str, Any], steps: int) -> tuple[Phase, bool]:
    train, test = (
        np.array([steps - 1 if summary[name] is None else summary[name]])
        for name in ("train_step", "test_step")
    )
    labels = phase_labels(train, test, steps)
    return cast(Phase, str(labels.phases[0])), bool(labels.test_only[0])


def _cell(row: CellRow, loss: views.SphereLoss, steps: int) -> views.OmnigrokCell:
    summary = row.summary or {}
    phase, test_only = _phase(summary, steps) if summary else (None, False)
    return views.OmnigrokCell(
        cell=row.cell,
        **row.place,
        phase=phase,
        test_only=test_only,
        train_step=summary.get("train_step"),
        test_step=summary.get("test_step"),
        train_loss=summary.get(f"{loss}_train_loss"),
        test_loss=summary.get(f"{loss}_test_loss"),
        test_accuracy=summary.get("final_test_accuracy"),
        initial_norm=summary.get("initial_norm"),
        final_norm=summary.get("final_norm"),
        test_norm=summary.get("test_norm"),
    )


def reduced_landscape(
    cells: Sequence[views.OmnigrokCell], n_train: int, loss: views.SphereLoss
) -> views.Landscape | None:
    """Return the landscape of networks on spheres; None before one of them is finished."""
    by_alpha: dict[float, list[tuple[float, float, float]]] = {}
    for cell in cells:
        norm, train, test = cell.initial_norm, cell.train_loss, cell.test_loss
        if norm is not None and train is not None and test is not None:
            by_alpha.setdefault(cell.alpha, []).append((norm, train, test))
    points = tuple(
        views.LandscapePoint(alpha, *(median(column) for column in zip(*rows, strict=True)))
        for alpha, rows in sorted(by_alpha.items())
    )
    if not points:
        return None
    best = min(range(len(points)), key=lambda i: points[i].test_loss)
    max_loss = ZONE_FACTOR * points[best].test_loss
    low = high = best
    while low > 0 and points[low - 1].test_loss <= max_loss:
        low -= 1
    while high < len(points) - 1 and points[high + 1].test_loss <= max_loss:
        high += 1
    zone = points[low].alpha, points[high].alpha
    return views.Landscape(n_train, loss, points, points[best], zone)


def decay_law(
    cells: Sequence[views.OmnigrokCell], n_train: int, learning_rate: float
) -> views.DecayLaw | None:
    """Return weight decay against time for the networks of the largest alpha.

    None for fewer than two weight decays above zero.
    """
    alpha = max(cell.alpha for cell in cells)
    decayed = [cell for cell in cells if cell.alpha == alpha and cell.weight_decay > 0]
    if len({cell.weight_decay for cell in decayed}) < 2:
        return None
    initial_norms = [cell.initial_norm for cell in decayed if cell.initial_norm is not None]
    test_norms = [cell.test_norm for cell in decayed if cell.test_norm is not None]
    initial = median(initial_norms) if initial_norms else None
    critical = median(test_norms) if test_norms else None
    rate = None
    if initial and critical and initial > critical > 0 and learning_rate > 0:
        rate = math.log(initial / critical) / learning_rate
    points = tuple(
        views.DecayPoint(
            cell=cell.cell,
            weight_decay=cell.weight_decay,
            seed=cell.seed,
            is_finished=cell.phase is not None,
            train_step=cell.train_step,
            test_step=cell.test_step,
            product=None if cell.test_step is None else cell.weight_decay * cell.test_step,
            norm=cell.test_norm,
        )
        for cell in sorted(decayed, key=lambda cell: (cell.weight_decay, cell.seed))
    )
    return views.DecayLaw(alpha, n_train, learning_rate, initial, critical, rate, points)
