"""The newest finished curve sets of a suite on a corpus."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.interfaces import ORMOption

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


def suite_with_curves(session: Session, corpus: Corpus) -> Suite | None:
    """Return the first suite that has curves on a corpus, None if none has."""
    return session.scalars(
        select(Suite)
        .join(CurveSet, CurveSet.suite_id == Suite.id)
        .where(CurveSet.corpus_id == corpus.id, CurveSet.completed_at.is_not(None))
        .order_by(Suite.id)
        .limit(1)
    ).first()
