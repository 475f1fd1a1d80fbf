"""Rows that stand behind many pages, detached, with all that is read of them, and kept.

Whoever gets them reads them only; what is not listed here is not loaded.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.read.curve_sets import curve_sets, suite_with_curves
from backend.read.evaluations import evaluations_of, first_suite, list_evaluations
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.memo import memoize_by_version
from backend.store.tables import Corpus, CurveSet, Evaluation, Suite


@dataclass(frozen=True)
class SuiteRows:
    """A corpus with a suite on it: finished evaluations by size and step, newest curve sets."""

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


def load(row: CurveSet) -> CurveSet:
    """Load what pages read of a curve set."""
    assert row.suite.name
    load_corpus(row.corpus)
    assert row.model is None or row.model.name
    return row


def load_corpus(row: Corpus) -> Corpus:
    """Load what pages read of a corpus."""
    assert row.tokenizer is None or row.tokenizer.key
    return row


def load_suite_rows(store: Store, corpus: str, suite: str | None) -> SuiteRows:
    """Return a corpus with a suite: by default the one that a search takes, else an evaluated one.

    Raises:
        NotFoundError: there is no such corpus or suite.
    """

    def make() -> SuiteRows:
        with store.session() as session:
            home = load_corpus(corpus_named(session, corpus))
            family = suite_named(session, suite) if suite else _default_suite(session, home)
            if family is None:
                return SuiteRows(home, None, (), ())
            rows = list_evaluations(session, home, family)
            sets = tuple(load(row) for row in curve_sets(session, home, family))
            return SuiteRows(home, family, rows, sets)

    return memoize_by_version(store, ("known suite", corpus, suite), make)


def _default_suite(session: Session, corpus: Corpus) -> Suite | None:
    """Return the suite that a search takes by default; without curves the first evaluated one."""
    return suite_with_curves(session, corpus) or first_suite(session, corpus)


def load_curve_rows(session: Session, row: CurveSet) -> CurveRows:
    """Return a curve set with what is read of it."""
    rows = tuple(evaluations_of(session, load(row)))
    chosen = [one.checkpoint for one in rows]
    labels = tuple(c.model.name if row.axis == "N" else str(c.step) for c in chosen)
    return CurveRows(row, rows, labels)
