"""The form for a finer phase diagram inside a rectangle of one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter
from fastapi.responses import Response

from app.pages.experiment_runs import submit_run
from app.requests.dependencies import ExperimentName, StoreDep
from app.requests.forms import FormFields
from backend.errors import InvalidInputError
from backend.experiments.grokking.queries import load_phase_diagram
from backend.experiments.grokking.spec import MAX_SIDE, PHASE_DIAGRAM
from backend.experiments.grokking.views import GridAxis, PhaseCell, PhaseDiagramView
from compute.grokking.grids import INTEGER_AXES

router = APIRouter(include_in_schema=False)

DEFAULT_COUNT = 9


@dataclass(frozen=True)
class AxisFields:
    """Fields of one axis: both ends and the number of values."""

    name: str
    title: str
    low: str
    high: str
    count: int


def axis_fields(view: PhaseDiagramView, cell: PhaseCell | None) -> list[AxisFields]:
    """Return the fields of both axes: the neighbourhood of a cell, or the whole grid."""
    axes = (("x", view.x, cell and cell.x), ("y", view.y, cell and cell.y))
    fields = []
    for name, axis, value in axes:
        low, high = 0, len(axis.values) - 1
        if value is not None and len(axis.values) > 2:
            i = axis.values.index(value)
            low, high = max(0, i - 1), min(high, i + 1)
        low_end, high_end = (f"{axis.values[i]:.4g}" for i in (low, high))
        fields.append(AxisFields(name, axis.title, low_end, high_end, DEFAULT_COUNT))
    return fields


def _axis_values(fields: Mapping[str, str], name: str, axis: GridAxis) -> list[float]:
    """Return the values of an axis between the two ends of the form."""
    try:
        low, high = (float(fields[f"{name}_{end}"]) for end in ("low", "high"))
        count = int(fields[f"{name}_count"])
    except (KeyError, ValueError) as error:
        raise InvalidInputError(
            f"the ends of axis {name} are not numbers", "Send low, high and count", f"{name}_low"
        ) from error
    if not (np.isfinite([low, high]).all() and 0 <= low < high and 2 <= count <= MAX_SIDE):
        raise InvalidInputError(
            f"axis {name} from {low:g} to {high:g} in {count} values",
            f"Choose a low end of 0 or more below the high end, and 2 to {MAX_SIDE} values",
            f"{name}_low",
        )
    space = np.geomspace if axis.is_log and low > 0 else np.linspace
    values = space(low, high, count)
    if axis.name in INTEGER_AXES:
        return sorted({float(round(value)) for value in values})
    return [float(f"{value:.4g}") for value in values]


@router.post("/grokking/{experiment}/finer")
def start_finer_grid(store: StoreDep, experiment: ExperimentName, fields: FormFields) -> Response:
    """Start a finer grid inside a rectangle of a phase diagram."""
    view = load_phase_diagram(store, experiment)
    values = {
        f"{name}_values": _axis_values(fields, name, axis)
        for name, axis in (("x", view.x), ("y", view.y))
    }
    return submit_run(store, PHASE_DIAGRAM, view.experiment.parameters | values)
