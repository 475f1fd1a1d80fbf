"""What is evaluated, kept between requests: rows that say so never change once they are complete.

The rows are detached: they have their checkpoint, its model and its suite, and nothing else that
would have to be loaded.
"""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, bindparam, select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.store.lookup import finished_evaluations
from backend.store.tables import Checkpoint, Corpus, CurveSet, Evaluation, Model, Suite

MAX_KEPT = 64  # pairs of a corpus and a suite, of each store
_Kept = dict[tuple[int, int], tuple[Any, tuple[Evaluation, ...]]]
# Made once: putting it together takes longer than asking.
_PRESENT = (
    select(Evaluation.id, Evaluation.key, Evaluation.completed_at)
    .join(Checkpoint, Checkpoint.id == Evaluation.checkpoint_id)
    .join(Model, Model.id == Checkpoint.model_id)
    .where(
        Evaluation.corpus_id == bindparam("corpus"),
        Evaluation.completed_at.is_not(None),
        Model.suite_id == bindparam("suite"),
    )
    .order_by(Evaluation.id)
)
_kept: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()


def list_evaluations(session: Session, corpus: Corpus, suite: Suite) -> tuple[Evaluation, ...]:
    """Return finished evaluations of a suite on a corpus, by size, then step."""
    present = session.execute(_PRESENT, {"corpus": corpus.id, "suite": suite.id}).all()
    held = _kept.setdefault(session.get_bind().engine, {})
    place = corpus.id, suite.id
    found = held.get(place)
    if found is None or found[0] != present:
        found = present, _detached(session, corpus, suite)
        if len(held) >= MAX_KEPT:
            held.clear()
        # What was finished between the two reads is compared again the next time.
        held[place] = found
    return found[1]


def _detached(session: Session, corpus: Corpus, suite: Suite) -> tuple[Evaluation, ...]:
    with Session(session.get_bind(), expire_on_commit=False) as own:
        rows = tuple(finished_evaluations(own, corpus, suite))
        for row in rows:
            assert row.checkpoint.model.suite.id == suite.id
    return rows


def evaluations_of(session: Session, curve_set: CurveSet) -> list[Evaluation]:
    """Return the evaluations behind a curve set, in the order of its axis."""
    known = {row.id: row for row in list_evaluations(session, curve_set.corpus, curve_set.suite)}
    return [known.get(i) or session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]


def first_suite(session: Session, corpus: Corpus) -> Suite | None:
    """Return the first suite that is evaluated on a corpus, None if none is."""
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if list_evaluations(session, corpus, suite):
            return suite
    return None


def default_suite(session: Session, corpus: Corpus) -> Suite:
    """Return the first suite that is evaluated on a corpus.

    Raises:
        NotFoundError: none is.
    """
    suite = first_suite(session, corpus)
    if suite is None:
        raise NotFoundError(
            f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
        )
    return suite
