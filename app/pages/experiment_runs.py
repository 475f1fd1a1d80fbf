"""Shared by all pages of experiments: presets, the list of runs, settings, and new runs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from app.pages import job_form, job_views
from app.requests.dependencies import StoreDep
from app.requests.forms import FormFields
from app.web.templating import PageContext, query_string
from backend.errors import InvalidInputError, NotReadyError
from backend.experiments.kind import ExperimentKind
from backend.experiments.queries import list_experiments, load_experiment
from backend.experiments.registry import KINDS, experiment_kind
from backend.experiments.views import ExperimentRow
from backend.jobs import queue
from backend.jobs.kinds.registry import find_kind
from backend.jobs.workers import list_workers
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

MAX_RUNS = 40
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class PresetRow:
    """A preset; `form` is the address of the job form with its parameters filled in."""

    kind: str
    name: str
    title: str
    size: str
    shows: str
    form: str


@dataclass(frozen=True)
class RunOption:
    """A run in the list of runs."""

    id: str
    label: str
    is_current: bool


@dataclass(frozen=True)
class Runs:
    """The runs of a page.

    Attributes:
        presets: presets of the kinds on the page.
        options: stored runs, newest first.
        current: run that the page shows, None if there is none.
        job: job of the current run as a row of the job list, None if it has none.
        form: address of the job form.
        resubmit: form fields that request the current run again.
    """

    presets: list[PresetRow]
    options: list[RunOption]
    current: ExperimentRow | None
    job: job_views.Row | None
    form: str
    resubmit: dict[str, str]


@dataclass(frozen=True)
class NetworkRow:
    """A network; `name` holds the parameters that distinguish it from the others."""

    cell: int
    name: str
    summary: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class RunsPage(PageContext):
    """Variables of a page that shows a run of an experiment."""

    section: str = "experiments"
    runs: Runs
    settings: list[tuple[str, str]]


def _preset_rows(kind: ExperimentKind) -> list[PresetRow]:
    return [
        PresetRow(
            kind.name,
            preset.name,
            preset.title,
            preset.size,
            preset.shows,
            "/jobs" + query_string(new=kind.name, **job_form.format_values(preset.parameters)),
        )
        for preset in kind.presets
    ]


def _label(row: ExperimentRow) -> str:
    is_finished = row.n_finished == row.n_cells
    return row.label + ("" if is_finished else f" ({row.n_finished} of {row.n_cells} cells)")


def list_runs(
    store: Store, kind: ExperimentKind, selected: str | None, *other_kinds: ExperimentKind
) -> Runs:
    """Return the runs of a kind with the selected one, by default the newest with results.

    The presets include those of `other_kinds`.

    Raises:
        NotFoundError: unknown experiment.
        InvalidInputError: the selected experiment is of another kind.
    """
    rows = list_experiments(store, kind.name, limit=MAX_RUNS).experiments
    current: ExperimentRow | None
    if selected is None:
        current = next((row for row in rows if row.n_finished), rows[0] if rows else None)
    else:
        current = load_experiment(store, selected).experiment
        if current.kind != kind.name:
            raise InvalidInputError(
                f"experiment {selected} is a {current.kind}", f"Open {current.page}", "run"
            )
    if current is not None and current.id not in {row.id for row in rows}:
        rows = (current, *rows)
    job = current.job if current else None
    return Runs(
        presets=[preset for shown in (kind, *other_kinds) for preset in _preset_rows(shown)],
        options=[
            RunOption(row.id, _label(row), current is not None and row.id == current.id)
            for row in rows
        ],
        current=current,
        job=job_views.row(job, list_workers(store)) if job else None,
        form="/jobs" + query_string(new=kind.name),
        resubmit=_resubmit_fields(current) if current else {},
    )


def _resubmit_fields(row: ExperimentRow) -> dict[str, str]:
    request = find_kind(row.kind).as_request(row.parameters)
    return job_form.format_values(
        {name: value for name, value in request.items() if value is not None}
    )


def setting_rows(row: ExperimentRow, hidden: Collection[str]) -> list[tuple[str, str]]:
    """Return (title, value) of the parameters of a run, without the hidden and the empty ones."""
    fields = KINDS[row.kind].schema.model_fields
    return [
        (str(fields[name].title or name), _value_text(value))
        for name, value in row.parameters.items()
        if name not in hidden and value is not None
    ]


def _value_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_value_text(item) for item in value)
    if isinstance(value, dict):
        return f"{value['file']} ({value['sha256'][:10]})"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def none_if_not_ready(load: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return `load(*args, **kwargs)`; None if the result is not computed yet."""
    try:
        return load(*args, **kwargs)
    except NotReadyError:
        return None


def submit_run(store: Store, kind: ExperimentKind, parameters: Mapping[str, Any]) -> Response:
    """Submit a job for an experiment, and redirect to the page that shows it."""
    job = queue.submit(store, kind.name, dict(parameters), None, "any")
    return RedirectResponse(kind.page_address(kind.public_id(job.parameters)), 303)


@router.post("/experiments/{kind}")
def start_run(store: StoreDep, kind: str, fields: FormFields) -> Response:
    """Start an experiment from a preset's name or from parameters."""
    experiment = experiment_kind(kind)
    name = fields.pop("preset", None)
    if name is None:
        return submit_run(store, experiment, job_form.parse_form(find_kind(kind), fields))
    presets = {preset.name: preset for preset in experiment.presets}
    if name not in presets:
        raise InvalidInputError(
            f"there is no preset {name!r}", f"Choose from {', '.join(presets)}", "preset"
        )
    return submit_run(store, experiment, presets[name].parameters)
