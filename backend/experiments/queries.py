"""Experiments as they are stored: lists, cells, curves, and phases of grids."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from backend.errors import NotFoundError, NotReadyError
from backend.experiments.kind import ID_DIGITS
from backend.experiments.registry import KINDS, ExperimentKind, experiment_kind
from backend.experiments.views import (
    ArrayInfo,
    CellDetail,
    CellRow,
    ExperimentDetail,
    ExperimentPage,
    ExperimentRow,
)
from backend.read.job_views import OPEN_STATES, JobView
from backend.read.jobs import view_of
from backend.read.paging import tail_page
from backend.read.values import finite_or_none, format_utc
from backend.store import arrays
from backend.store.database import Store
from backend.store.keys import result_key
from backend.store.tables import Experiment, ExperimentArray, ExperimentCell, Job

STEP = "step"
MAX_LISTED = 100


def _jobs(session: Session, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, JobView]:
    """Return the newest job of each (kind, parameters) by its key."""
    keys = {result_key("job", kind=kind, parameters=asked) for kind, asked in rows}
    found: dict[str, JobView] = {}
    query = select(Job).where(Job.key.in_(keys)).order_by(Job.created_at)
    for row in session.scalars(query):
        found[row.key] = view_of(row)  # later ones in place of earlier ones
    return found


def _row_views(
    session: Session, rows: Sequence[tuple[Experiment, int]]
) -> tuple[ExperimentRow, ...]:
    jobs = _jobs(session, [(row.kind, row.parameters) for row, _ in rows])
    return tuple(
        ExperimentRow(
            id=row.key[:ID_DIGITS],
            kind=row.kind,
            title=KINDS[row.kind].title if row.kind in KINDS else row.kind,
            label=KINDS[row.kind].label(row.parameters) if row.kind in KINDS else "",
            parameters=row.parameters,
            n_cells=row.n_cells,
            n_finished=n_finished,
            created_at=format_utc(row.created_at),
            page=_page(row.kind, row.key[:ID_DIGITS]),
            job=jobs.get(result_key("job", kind=row.kind, parameters=row.parameters)),
        )
        for row, n_finished in rows
    )


def _page(kind: str, name: str) -> str:
    return KINDS[kind].address(name) if kind in KINDS else f"/api/v1/experiments/{name}"


def list_experiments(
    store: Store, kind: str | None = None, *, limit: int = MAX_LISTED, left: int | None = None
) -> ExperimentPage:
    """Return experiments, newest first; of one kind, or of all.

    Args:
        store: where they are.
        kind: only these.
        limit: of a page.
        left: how many there are from the page on, as the cursor of the page before says.

    Raises:
        InvalidInputError: there is no such kind.
    """
    if kind is not None:
        experiment_kind(kind)
    chosen = (
        select(Experiment) if kind is None else select(Experiment).where(Experiment.kind == kind)
    )
    finished = (
        select(func.count()).where(ExperimentCell.experiment_id == Experiment.id).scalar_subquery()
    )
    with store.session() as session:
        total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
        offset, cursor = tail_page(total, left, limit)
        query = chosen.add_columns(finished).order_by(Experiment.id.desc())
        rows = session.execute(query.limit(limit).offset(offset)).all()
        views = _row_views(session, [(row, count) for row, count in rows])
    return ExperimentPage(views, cursor)


def _waiting(session: Session, name: str) -> ExperimentRow | None:
    """Return an experiment that a job asks for and no worker has begun."""
    query = select(Job).where(Job.kind.in_(KINDS), Job.state.in_(OPEN_STATES))
    for row in session.scalars(query):
        kind = KINDS[row.kind]
        if kind.id(row.parameters) == name:
            return ExperimentRow(
                id=name,
                kind=row.kind,
                title=kind.title,
                label=kind.label(row.parameters),
                parameters=row.parameters,
                n_cells=len(kind.places(row.parameters)),
                n_finished=0,
                created_at=None,
                page=_page(row.kind, name),
                job=view_of(row),
            )
    return None


def _stored(session: Session, name: str) -> Experiment | None:
    return session.scalars(select(Experiment).where(Experiment.key.startswith(name))).one_or_none()


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no experiment {name}", "GET /api/v1/experiments lists them")


def experiment(store: Store, name: str) -> ExperimentDetail:
    """Return an experiment with what its finished cells are summed up by.

    Raises:
        NotFoundError: there is none, and no open job asks for it.
    """
    with store.session() as session:
        row = _stored(session, name)
        found: dict[int, dict[str, Any]] = {}
        if row is not None:
            query = select(ExperimentCell.cell, ExperimentCell.summary)
            query = query.where(ExperimentCell.experiment_id == row.id)
            found = {cell: summary for cell, summary in session.execute(query)}
        view = _row_views(session, [(row, len(found))])[0] if row else _waiting(session, name)
    if view is None:
        raise _unknown(name)
    places = _kind(view).places(view.parameters)
    cells = tuple(CellRow(i, place, found.get(i)) for i, place in enumerate(places))
    return ExperimentDetail(view, cells)


def _kind(view: ExperimentRow) -> ExperimentKind:
    if view.kind not in KINDS:
        raise NotReadyError(
            f"experiment {view.id} is of kind {view.kind}, which this program does not know",
            "It was made by a newer program: upgrade this one",
        )
    return KINDS[view.kind]


def _cell_row(session: Session, name: str, cell: int) -> tuple[Experiment, ExperimentCell]:
    row = _stored(session, name)
    if row is None:
        if _waiting(session, name) is not None:
            raise NotReadyError(f"experiment {name} has not begun", "Follow its job")
        raise _unknown(name)
    if not 0 <= cell < row.n_cells:
        raise NotFoundError(
            f"experiment {name} has no cell {cell}", f"Its cells are 0 to {row.n_cells - 1}"
        )
    found = session.get(ExperimentCell, (row.id, cell))
    if found is None:
        raise NotReadyError(
            f"cell {cell} of experiment {name} is not finished", "Follow its job, or resume it"
        )
    return row, found


def _values(session: Session, row: Experiment, cell: int, only: str | None = None) -> Any:
    query = select(ExperimentArray).where(
        ExperimentArray.experiment_id == row.id, ExperimentArray.cell == cell
    )
    if only is not None:
        query = query.where(ExperimentArray.name == only)
    what = f"cell {cell} of experiment {row.key[:ID_DIGITS]}"
    return {
        one.name: arrays.read(one, f"{one.name} of {what}")
        for one in session.scalars(query.options(undefer(ExperimentArray.data)))
    }


def cell_arrays(store: Store, name: str, cell: int) -> dict[str, NDArray[Any]]:
    """Return all arrays of a finished cell by name.

    Raises:
        NotFoundError: there is no such experiment or cell.
        NotReadyError: it is not finished.
    """
    with store.session() as session:
        row, _ = _cell_row(session, name, cell)
        found: dict[str, NDArray[Any]] = _values(session, row, cell)
        return found


def cell_array(store: Store, name: str, cell: int, array: str) -> NDArray[Any]:
    """Return one array of a finished cell.

    Raises:
        NotFoundError: there is no such experiment, cell or array.
        NotReadyError: it is not finished.
    """
    with store.session() as session:
        row, _ = _cell_row(session, name, cell)
        found: dict[str, NDArray[Any]] = _values(session, row, cell, array)
    if array not in found:
        raise NotFoundError(
            f"cell {cell} of experiment {name} has no array {array!r}", "Its cell lists them"
        )
    return found[array]


def cell_curves(
    store: Store, name: str, cells: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, NDArray[Any]]]:
    """Return some arrays of those of some cells that are finished, by cell and name.

    Raises:
        NotFoundError: there is no such experiment, stored.
    """
    with store.session() as session:
        row = _stored(session, name)
        if row is None:
            raise _unknown(name)
        query = select(ExperimentArray).where(
            ExperimentArray.experiment_id == row.id,
            ExperimentArray.cell.in_(cells),
            ExperimentArray.name.in_(names),
        )
        found: dict[int, dict[str, NDArray[Any]]] = {}
        for one in session.scalars(query.options(undefer(ExperimentArray.data))):
            what = f"{one.name} of cell {one.cell} of experiment {name}"
            found.setdefault(one.cell, {})[one.name] = arrays.read(one, what)
        return found


def cell(store: Store, name: str, number: int) -> CellDetail:
    """Return a finished cell with its curves.

    Raises:
        NotFoundError: there is no such experiment or cell.
        NotReadyError: it is not finished.
    """
    with store.session() as session:
        row, found = _cell_row(session, name, number)
        values = _values(session, row, number)
        steps = values.get(STEP, np.zeros(0, np.int32))
        is_curve = {
            key: key != STEP and one.ndim == 1 and len(one) == len(steps)
            for key, one in values.items()
        }
        places = KINDS[row.kind].places(row.parameters) if row.kind in KINDS else []
        return CellDetail(
            experiment=name,
            kind=row.kind,
            cell=number,
            place=places[number] if places else {},
            summary=found.summary,
            provenance=found.provenance,
            steps=tuple(steps.tolist()),
            curves={
                key: tuple(finite_or_none(value) for value in one.tolist())
                for key, one in values.items()
                if is_curve[key]
            },
            arrays=tuple(
                ArrayInfo(key, one.dtype.name, one.shape)
                for key, one in values.items()
                if key != STEP and not is_curve[key]
            ),
        )
