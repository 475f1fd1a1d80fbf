"""The newest finished curve sets of a suite on a corpus, and the choice of one of them."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import ORMOption

from backend.errors import InvalidInputError, NotReadyError
from backend.store.lookup import corpus_named, model_named, suite_named
from backend.store.tables import Corpus, CurveSet, Suite


def curve_sets(
    session: Session, corpus: Corpus, suite: Suite, *options: ORMOption
) -> list[CurveSet]:
    """Return the newest finished curve set of each axis and model: size first, then models."""
    rows = session.scalars(
        select(CurveSet)
        .where(
            CurveSet.corpus_id == corpus.id,
            CurveSet.suite_id == suite.id,
            CurveSet.completed_at.is_not(None),
        )
        .order_by(CurveSet.id)
        .options(*options)
    )
    newest = {(row.axis, row.model_id): row for row in rows}
    sizes = {None: 0} | {model.id: model.nonembedding_parameters for model in suite.models}
    return sorted(newest.values(), key=lambda row: (row.axis, sizes.get(row.model_id, 0)))


def find_curve_set(
    session: Session, corpus: str | None, suite: str | None, axis: str, model: str | None
) -> CurveSet:
    """Return the newest finished curve set along an axis, "N" (model size) or "S" (training step).

    None stands for the first corpus that has curves, the first suite that has curves on it, and on
    axis "S" the largest model that has curves.

    Raises:
        NotFoundError: an unknown name.
        InvalidInputError: an unknown axis.
        NotReadyError: there are no such curves yet.
    """
    if axis not in {"N", "S"}:
        raise InvalidInputError(f"axis {axis!r}", "Choose N or S", "axis")
    corpus_row, suite_row = _corpus_and_suite(session, corpus, suite)
    model_id = model_named(suite_row, model).id if model and axis == "S" else None
    rows = curve_sets(session, corpus_row, suite_row)
    matches = [row for row in rows if row.axis == axis and model_id in {None, row.model_id}]
    if matches:
        return matches[-1]
    classify = f"quanta classify {suite_row.name} {corpus_row.name}"
    other = next((row.axis for row in rows if row.axis != axis), None)
    raise NotReadyError(
        f"there are no curves of {model or suite_row.name} on {corpus_row.name} over {axis}",
        f"Choose axis={other}, or run `{classify}`" if other else f"Run `{classify}`",
    )


def suite_with_curves(session: Session, corpus: Corpus) -> Suite | None:
    """Return the first suite that has curves on a corpus, None if none has."""
    row = _first_curve_set(session, corpus, None)
    return row.suite if row else None


def _corpus_and_suite(
    session: Session, corpus_name: str | None, suite_name: str | None
) -> tuple[Corpus, Suite]:
    corpus = corpus_named(session, corpus_name) if corpus_name else None
    suite = suite_named(session, suite_name) if suite_name else None
    if corpus is not None and suite is not None:
        return corpus, suite
    row = _first_curve_set(session, corpus, suite)
    if row is None:
        raise NotReadyError(
            "there are no curves to search yet",
            f"Run `quanta classify {suite_name or 'SUITE'} {corpus_name or 'CORPUS'}`",
        )
    return row.corpus, row.suite


def _first_curve_set(
    session: Session, corpus: Corpus | None, suite: Suite | None
) -> CurveSet | None:
    query = select(CurveSet).where(CurveSet.completed_at.is_not(None))
    if corpus is not None:
        query = query.where(CurveSet.corpus_id == corpus.id)
    if suite is not None:
        query = query.where(CurveSet.suite_id == suite.id)
    return session.scalars(query.order_by(CurveSet.corpus_id, CurveSet.suite_id).limit(1)).first()
