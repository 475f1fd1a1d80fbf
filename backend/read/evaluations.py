"""Finished evaluations of a suite on a corpus, cached between requests.

The rows are detached, with their checkpoint, its model and its suite loaded.
"""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, bindparam, select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError
from backend.store.lookup import finished_evaluations
from backend.store.tables import Checkpoint, Corpus, CurveSet, Evaluation, Model, Suite

MAX_CACHED_PAIRS = 64  # pairs of a corpus and a suite, of each store
_Cache = dict[tuple[int, int], tuple[Any, tuple[Evaluation, ...]]]
# Built once: compiling the statement takes longer than running it.
_FINISHED = (
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
_caches: WeakKeyDictionary[Engine, _Cache] = WeakKeyDictionary()


def list_evaluations(session: Session, corpus: Corpus, suite: Suite) -> tuple[Evaluation, ...]:
    """Return finished evaluations of a suite on a corpus, by size, then step."""
    finished = session.execute(_FINISHED, {"corpus": corpus.id, "suite": suite.id}).all()
    cache = _caches.setdefault(session.get_bind().engine, {})
    pair = corpus.id, suite.id
    entry = cache.get(pair)
    if entry is None or entry[0] != finished:
        with Session(session.get_bind(), expire_on_commit=False) as own:
            entry = finished, tuple(finished_evaluations(own, corpus, suite))
        if len(cache) >= MAX_CACHED_PAIRS:
            cache.clear()
        # An evaluation that finishes between the two reads invalidates the entry at the next call.
        cache[pair] = entry
    return entry[1]


def evaluations_of(session: Session, curve_set: CurveSet) -> list[Evaluation]:
    """Return the evaluations of a curve set, in the order of its axis."""
    finished = list_evaluations(session, curve_set.corpus, curve_set.suite)
    by_id = {evaluation.id: evaluation for evaluation in finished}
    return [by_id.get(i) or session.get_one(Evaluation, i) for i in curve_set.evaluation_ids]


def first_suite(session: Session, corpus: Corpus) -> Suite | None:
    """Return the first suite that is evaluated on a corpus, None if there is none."""
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if list_evaluations(session, corpus, suite):
            return suite
    return None


def default_suite(session: Session, corpus: Corpus) -> Suite:
    """Return the first suite that is evaluated on a corpus.

    Raises:
        NotFoundError: no suite is evaluated on it.
    """
    suite = first_suite(session, corpus)
    if suite is None:
        raise NotFoundError(
            f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
        )
    return suite
