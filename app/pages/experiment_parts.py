"""What all pages of experiments share: presets to start from, runs to choose from, asking."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from app.pages import job_form, job_views
from app.requests.dependencies import StoreDep
from app.requests.forms import FormFields
from app.web.templating import query_string
from backend.errors import InvalidInputError
from backend.experiments import queries as experiments
from backend.experiments.registry import ExperimentKind, experiment_kind
from backend.experiments.views import ExperimentRow
from backend.jobs import queue
from backend.jobs.kinds.registry import find_kind
from backend.jobs.workers import list_workers
from backend.store.database import Store

router = APIRouter(include_in_schema=False)

RUNS_SHOWN = 40


@dataclass(frozen=True)
class Start:
    """A preset: what it shows, and its parameters as fields of a form."""

    kind: str
    name: str
    title: str
    size: str
    shows: str
    own: str


@dataclass(frozen=True)
class Run:
    """A run to choose."""

    id: str
    words: str
    is_current: bool


@dataclass(frozen=True)
class Runs:
    """What a page of experiments is about.

    Attributes:
        starts: presets of its kinds.
        runs: stored ones of its kinds, newest first.
        current: the one that is shown, None if there is none.
        job: its job as a row of the list of jobs, None if it was computed without one.
        form: address of the form for own settings.
        again: fields of a form that asks for what is left of the current one.
    """

    starts: list[Start]
    runs: list[Run]
    current: ExperimentRow | None
    job: job_views.Row | None
    form: str
    again: dict[str, str]


def starts_of(kind: ExperimentKind) -> list[Start]:
    """Return the presets of a kind, with the address of the form filled in after each."""
    return [
        Start(
            kind.name,
            preset.name,
            preset.title,
            preset.size,
            preset.shows,
            "/jobs" + query_string(new=kind.name, **job_form.entered(preset.parameters)),
        )
        for preset in kind.presets
    ]


def _words(row: ExperimentRow) -> str:
    far = "" if row.n_finished == row.n_cells else f" ({row.n_finished} of {row.n_cells} cells)"
    return f"{row.label}{far}"


def runs_of(
    store: Store, kind: ExperimentKind, wanted: str | None, *beside: ExperimentKind
) -> Runs:
    """Return the runs of a kind with the one that is wanted, by default the newest with results.

    Args:
        store: where they are.
        kind: of the runs.
        wanted: id of the one to show.
        beside: kinds that the page has presets of too.

    Raises:
        NotFoundError: there is no such experiment.
    """
    rows = experiments.list_experiments(store, kind.name, limit=RUNS_SHOWN).experiments
    current: ExperimentRow | None
    if wanted is not None:
        current = experiments.experiment(store, wanted).experiment
        if current.kind != kind.name:
            raise InvalidInputError(
                f"experiment {wanted} is a {current.kind}", f"It is shown on {current.page}", "run"
            )
    else:
        current = next((row for row in rows if row.n_finished), rows[0] if rows else None)
    if current is not None and current.id not in {row.id for row in rows}:
        rows = (current, *rows)
    job = current.job if current else None
    return Runs(
        starts=[start for one in (kind, *beside) for start in starts_of(one)],
        runs=[
            Run(row.id, _words(row), current is not None and row.id == current.id) for row in rows
        ],
        current=current,
        job=job_views.row(job, list_workers(store)) if job else None,
        form="/jobs" + query_string(new=kind.name),
        again=_again(kind, current) if current else {},
    )


def _again(kind: ExperimentKind, row: ExperimentRow) -> dict[str, str]:
    """Return the fields of a form that asks for an experiment as its request said it."""
    known = find_kind(kind.name).as_request(row.parameters)
    return job_form.entered({name: value for name, value in known.items() if value is not None})


def asked(store: Store, kind: ExperimentKind, parameters: Mapping[str, Any]) -> Response:
    """Ask for an experiment, and go to where it is shown."""
    view = queue.submit(store, kind.name, dict(parameters), None, "any")
    return RedirectResponse(kind.address(kind.id(view.parameters)), 303)


@router.post("/experiments/{kind}")
def start(store: StoreDep, kind: str, fields: FormFields) -> Response:
    """Ask for an experiment, by a preset's name or by its parameters."""
    found = experiment_kind(kind)
    name = fields.pop("preset", None)
    if name is None:
        return asked(store, found, job_form.given(find_kind(kind), fields))
    named = {preset.name: preset for preset in found.presets}
    if name not in named:
        raise InvalidInputError(
            f"there is no preset {name!r}", f"Choose from {', '.join(named)}", "preset"
        )
    return asked(store, found, named[name].parameters)
