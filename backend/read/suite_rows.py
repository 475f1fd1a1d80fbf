"""Rows that many pages read, detached, with their relations loaded and memoized.

Callers must not change them; relations that are not listed here are not loaded.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from backend.read.curve_sets import curve_sets, suite_with_curves
from backend.read.evaluations import evaluations_of, first_suite, list_evaluations
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.memo import memoize_by_version
from backend.store.tables import Corpus, CurveSet, Evaluation, Suite

_CURVE_SET_RELATIONS = (
    joinedload(CurveSet.suite),
    joinedload(CurveSet.model),
    joinedload(CurveSet.corpus).joinedload(Corpus.tokenizer),
)


@dataclass(frozen=True)
class SuiteRows:
    """A corpus and a suite: finished evaluations by size and step, newest curve sets."""

    corpus: Corpus
    suite: Suite | None
    evaluations: tuple[Evaluation, ...]
    curve_sets: tuple[CurveSet, ...]


@dataclass(frozen=True)
class CurveRows:
    """A curve set with its evaluations in the order of its axis, and their labels."""

    curve_set: CurveSet
    evaluations: tuple[Evaluation, ...]
    labels: tuple[str, ...]


def load_suite_rows(store: Store, corpus: str, suite: str | None) -> SuiteRows:
    """Return the rows of a corpus and a suite, by default the first with curves, or evaluated.

    Raises:
        NotFoundError: there is no such corpus or suite.
    """

    def load() -> SuiteRows:
        with store.session() as session:
            corpus_row = corpus_named(session, corpus, joinedload(Corpus.tokenizer))
            if suite:
                suite_row: Suite | None = suite_named(session, suite)
            else:
                suite_row = suite_with_curves(session, corpus_row) or first_suite(
                    session, corpus_row
                )
            if suite_row is None:
                return SuiteRows(corpus_row, None, (), ())
            evaluations = list_evaluations(session, corpus_row, suite_row)
            sets = curve_sets(session, corpus_row, suite_row, *_CURVE_SET_RELATIONS)
            return SuiteRows(corpus_row, suite_row, evaluations, tuple(sets))

    return memoize_by_version(store, ("suite rows", corpus, suite), load)


def load_curve_rows(session: Session, curve_set_id: int) -> CurveRows:
    """Return a curve set with its evaluations and labels."""
    curve_set = session.scalars(
        select(CurveSet).where(CurveSet.id == curve_set_id).options(*_CURVE_SET_RELATIONS)
    ).one()
    evaluations = tuple(evaluations_of(session, curve_set))
    checkpoints = [evaluation.checkpoint for evaluation in evaluations]
    labels = tuple(c.model.name if curve_set.axis == "N" else str(c.step) for c in checkpoints)
    return CurveRows(curve_set, evaluations, labels)
