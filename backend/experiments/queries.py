"""Queries about stored experiments of every kind: lists, cells and arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from backend.errors import NotFoundError, NotReadyError
from backend.experiments import views
from backend.experiments.kind import ID_DIGITS, ExperimentKind
from backend.experiments.registry import KINDS, experiment_kind
from backend.read.job_views import OPEN_STATES, JobView
from backend.read.jobs import job_view
from backend.read.paging import tail_page
from backend.read.values import finite_or_none, format_utc
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Experiment, ExperimentArray, ExperimentCell, Job

STEP = "step"
MAX_PAGE_SIZE = 100


def _job_key(kind: str, parameters: Mapping[str, Any]) -> str:
    return result_key("job", kind=kind, parameters=parameters)


def _newest_jobs(session: Session, rows: Sequence[Experiment]) -> dict[str, JobView]:
    """Return the newest job of each experiment by the job's key."""
    keys = {_job_key(row.kind, row.parameters) for row in rows}
    jobs = select(Job).where(Job.key.in_(keys)).order_by(Job.created_at)
    return {job.key: job_view(job) for job in session.scalars(jobs)}


def _row_view(
    row: Experiment | Job, experiment: str, n_cells: int, n_finished: int, job: JobView | None
) -> views.ExperimentRow:
    """Return the view of a stored experiment, or of an open job for one."""
    kind = KINDS.get(row.kind)
    params = kind.parse(row.parameters) if kind else None
    return views.ExperimentRow(
        id=experiment,
        kind=row.kind,
        title=kind.title if kind else row.kind,
        label=params.label() if params else "",
        # Under the names of today: stored ones may be older.
        parameters=params.model_dump(mode="json") if params else row.parameters,
        n_cells=n_cells,
        n_finished=n_finished,
        created_at=format_utc(row.created_at) if isinstance(row, Experiment) else None,
        page=kind.page_address(experiment) if kind else f"/api/v1/experiments/{experiment}",
        job=job,
    )


def _row_views(
    session: Session, rows: Sequence[tuple[Experiment, int]]
) -> tuple[views.ExperimentRow, ...]:
    jobs = _newest_jobs(session, [row for row, _ in rows])
    return tuple(
        _row_view(
            row,
            row.key[:ID_DIGITS],
            row.n_cells,
            n_finished,
            jobs.get(_job_key(row.kind, row.parameters)),
        )
        for row, n_finished in rows
    )


def list_experiments(
    store: Store,
    kind: str | None = None,
    *,
    limit: int = MAX_PAGE_SIZE,
    n_remaining: int | None = None,
) -> views.ExperimentPage:
    """Return a page of experiments of one kind or of all, newest first.

    `n_remaining` is the number of rows from this page on, from the cursor of the previous page.

    Raises:
        InvalidInputError: unknown kind.
    """
    query = select(Experiment)
    if kind is not None:
        query = query.where(Experiment.kind == experiment_kind(kind).name)
    n_finished = (
        select(func.count()).where(ExperimentCell.experiment_id == Experiment.id).scalar_subquery()
    )
    with store.session() as session:
        total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
        offset, cursor = tail_page(total, n_remaining, limit)
        page = query.add_columns(n_finished).order_by(Experiment.id.desc())
        rows = session.execute(page.limit(limit).offset(offset)).all()
        return views.ExperimentPage(
            _row_views(session, [(row, count) for row, count in rows]), cursor
        )


def _queued_experiment(session: Session, experiment: str) -> views.ExperimentRow | None:
    """Return an experiment that an open job computes and that is not stored yet."""
    query = select(Job).where(Job.kind.in_(KINDS), Job.state.in_(OPEN_STATES))
    for job in session.scalars(query):
        kind = KINDS[job.kind]
        if kind.public_id(job.parameters) == experiment:
            n_cells = len(kind.parse(job.parameters).places())
            return _row_view(job, experiment, n_cells, 0, job_view(job))
    return None


def _stored_experiment(session: Session, experiment: str) -> Experiment | None:
    query = select(Experiment).where(Experiment.key.startswith(experiment))
    return session.scalars(query).one_or_none()


def _not_found(experiment: str) -> NotFoundError:
    return NotFoundError(
        f"there is no experiment {experiment}", "GET /api/v1/experiments lists them"
    )


def load_experiment(store: Store, experiment: str) -> views.ExperimentDetail:
    """Return an experiment with the summaries of its finished cells.

    Raises:
        NotFoundError: the experiment is not stored, and no open job computes it.
        NotReadyError: the experiment is of a kind that this program does not know.
    """
    with store.session() as session:
        row = _stored_experiment(session, experiment)
        summaries: dict[int, dict[str, Any]] = {}
        if row is None:
            view = _queued_experiment(session, experiment)
        else:
            query = select(ExperimentCell.cell, ExperimentCell.summary)
            query = query.where(ExperimentCell.experiment_id == row.id)
            summaries = {cell: summary for cell, summary in session.execute(query)}
            view = _row_views(session, [(row, len(summaries))])[0]
    if view is None:
        raise _not_found(experiment)
    if view.kind not in KINDS:
        raise NotReadyError(
            f"experiment {view.id} is of kind {view.kind}, which this program does not know",
            "A newer program computed it: upgrade this one",
        )
    places = KINDS[view.kind].parse(view.parameters).places()
    cells = tuple(views.CellRow(i, place, summaries.get(i)) for i, place in enumerate(places))
    return views.ExperimentDetail(view, cells)


def _check_kind(kind: ExperimentKind, experiment: str, actual: str, page: str) -> None:
    if actual != kind.name:
        raise NotFoundError(
            f"experiment {experiment} is a {actual}, not a {kind.name}", f"Open {page}"
        )


def load_run(
    store: Store, kind: ExperimentKind, experiment: str
) -> tuple[views.ExperimentDetail, Any]:
    """Return an experiment of a kind, and its parameters as an instance of `kind.params`.

    Raises:
        NotFoundError: unknown experiment, or one of another kind.
    """
    detail = load_experiment(store, experiment)
    _check_kind(kind, experiment, detail.experiment.kind, detail.experiment.page)
    return detail, kind.parse(detail.experiment.parameters)


def _cell_rows(session: Session, experiment: str, cell: int) -> tuple[Experiment, ExperimentCell]:
    row = _stored_experiment(session, experiment)
    if row is None:
        if _queued_experiment(session, experiment) is not None:
            raise NotReadyError(f"experiment {experiment} has not started", "Follow its job")
        raise _not_found(experiment)
    if not 0 <= cell < row.n_cells:
        raise NotFoundError(
            f"experiment {experiment} has no cell {cell}", f"Its cells are 0 to {row.n_cells - 1}"
        )
    cell_row = session.get(ExperimentCell, (row.id, cell))
    if cell_row is None:
        raise NotReadyError(
            f"cell {cell} of experiment {experiment} is not finished",
            "Follow its job, or resume it",
        )
    return row, cell_row


def _read_arrays(
    session: Session, row: Experiment, cells: Sequence[int], names: Sequence[str] | None = None
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return arrays by cell and name; of all names if None."""
    query = select(ExperimentArray).where(
        ExperimentArray.experiment_id == row.id, ExperimentArray.cell.in_(cells)
    )
    if names is not None:
        query = query.where(ExperimentArray.name.in_(names))
    values: dict[int, dict[str, NDArray[Any]]] = {}
    for array in session.scalars(query.options(undefer(ExperimentArray.data))):
        title = f"{array.name} of cell {array.cell} of experiment {row.key[:ID_DIGITS]}"
        values.setdefault(array.cell, {})[array.name] = arrays.read(array, title)
    return values


def load_cell_array(store: Store, experiment: str, cell: int, name: str) -> NDArray[Any]:
    """Return one array of a finished cell.

    Raises:
        NotFoundError: unknown experiment, cell or array.
        NotReadyError: the cell is not finished.
    """
    with store.session() as session:
        row, _ = _cell_rows(session, experiment, cell)
        values = _read_arrays(session, row, [cell], [name]).get(cell, {})
    if name not in values:
        raise NotFoundError(
            f"cell {cell} of experiment {experiment} has no array {name!r}",
            f"GET /api/v1/experiments/{experiment}/cells/{cell} lists them",
        )
    return values[name]


def load_arrays_of_cells(
    store: Store, experiment: str, cells: Sequence[int], names: Sequence[str] | None = None
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return arrays of the finished ones among some cells by cell and name; None: all names.

    Raises:
        NotFoundError: the experiment is not stored.
    """
    with store.session() as session:
        row = _stored_experiment(session, experiment)
        if row is None:
            raise _not_found(experiment)
        return _read_arrays(session, row, cells, names)


def load_cell(store: Store, experiment: str, cell: int) -> views.CellDetail:
    """Return a finished cell with its curves.

    Raises:
        NotFoundError: unknown experiment or cell.
        NotReadyError: the cell is not finished.
    """
    with store.session() as session:
        row, cell_row = _cell_rows(session, experiment, cell)
        values = _read_arrays(session, row, [cell]).get(cell, {})
        return _cell_detail(row, cell_row, values)


def load_cell_of_kind(
    store: Store, kind: ExperimentKind, experiment: str, cell: int
) -> tuple[Any, views.CellDetail, dict[str, NDArray[Any]]]:
    """Return the parameters of an experiment, a finished cell and all its arrays by name.

    Raises:
        NotFoundError: unknown experiment or cell, or an experiment of another kind.
        NotReadyError: the cell is not finished.
    """
    with store.session() as session:
        row, cell_row = _cell_rows(session, experiment, cell)
        _check_kind(kind, experiment, row.kind, f"/api/v1/experiments/{experiment}")
        values = _read_arrays(session, row, [cell]).get(cell, {})
        return kind.parse(row.parameters), _cell_detail(row, cell_row, values), values


def _cell_detail(
    row: Experiment, cell_row: ExperimentCell, values: Mapping[str, NDArray[Any]]
) -> views.CellDetail:
    steps = values.get(STEP, np.zeros(0, np.int32))
    names = [name for name in values if name != STEP]
    curves = {name for name in names if values[name].ndim == 1 and len(values[name]) == len(steps)}
    places = KINDS[row.kind].parse(row.parameters).places() if row.kind in KINDS else []
    return views.CellDetail(
        experiment=row.key[:ID_DIGITS],
        kind=row.kind,
        cell=cell_row.cell,
        place=places[cell_row.cell] if places else {},
        summary=cell_row.summary,
        provenance=cell_row.provenance,
        steps=tuple(steps.tolist()),
        curves={
            name: tuple(map(finite_or_none, values[name].tolist()))
            for name in names
            if name in curves
        },
        arrays=tuple(
            views.ArrayInfo(name, values[name].dtype.name, values[name].shape)
            for name in names
            if name not in curves
        ),
    )
