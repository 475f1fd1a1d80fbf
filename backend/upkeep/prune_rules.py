"""Rules of pruning: objects that are old enough and that nothing refers to.

References are foreign keys, the evaluations that a curve set lists, and names in the parameters of
jobs. Inputs of a selection, a clustering or an annotation are referred to, so they are kept.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from backend.jobs.kinds.paste import pasted_name
from backend.read.job_views import OPEN_STATES
from backend.store.tables import (
    ClusterCurve,
    Corpus,
    CurveSet,
    Discovery,
    Document,
    Evaluation,
    Job,
    LossChunk,
    MeasureChunk,
    Selection,
    Similarity,
    SimilarityStripe,
    TargetLoss,
)
from backend.store.tables.base import utc

PASTED = re.compile(r"^paste-[0-9a-f]{12}$")


@dataclass(frozen=True)
class JobUse:
    """A job, with the corpora that it reads or creates."""

    id: str
    is_open: bool
    can_resume: bool
    finished_at: datetime | None
    corpora: frozenset[str]


def _corpora(row: Job) -> frozenset[str]:
    parameters: dict[str, Any] = row.parameters
    names = {parameters.get("corpus"), (row.result or {}).get("corpus")}
    if row.kind == "paste" and {"text", "corpus"} <= set(parameters):
        names.add(pasted_name(parameters))
    return frozenset(str(name) for name in names if name)


def job_uses(session: Session) -> list[JobUse]:
    """Return all jobs with the corpora that they use."""
    return [
        JobUse(
            row.id,
            row.state in OPEN_STATES,
            row.state != "finished",
            None if row.finished_at is None else utc(row.finished_at),
            _corpora(row),
        )
        for row in session.scalars(select(Job).order_by(Job.created_at, Job.id))
    ]


def _used_by_jobs(session: Session, before: datetime) -> set[str]:
    """Return corpora of jobs that run or can be resumed."""
    old = set(old_jobs(session, before))
    uses = [use for use in job_uses(session) if use.can_resume and use.id not in old]
    return {name for use in uses for name in use.corpora}


def old_jobs(session: Session, before: datetime) -> list[str]:
    """Return jobs that ended before a time."""
    return [
        use.id
        for use in job_uses(session)
        if not use.is_open and use.finished_at is not None and use.finished_at < before
    ]


def _curve_evaluations(session: Session, *, except_corpus: int | None = None) -> set[int]:
    """Return ids of evaluations in curve sets, except those of one corpus."""
    query = select(CurveSet.corpus_id, CurveSet.evaluation_ids)
    return {
        evaluation
        for corpus, evaluations in session.execute(query)
        if corpus != except_corpus
        for evaluation in evaluations
    }


def _is_older(session: Session, before: datetime, times: Iterable[Select[datetime]]) -> bool:
    stored = [session.execute(query).scalar_one_or_none() for query in times]
    return all(time is None or utc(time) < before for time in stored)


def free_evaluations(session: Session, before: datetime, only: int | None = None) -> list[int]:
    """Return ids of unfinished evaluations older than a time that nothing refers to.

    Their age is that of the last committed chunk, so that a running evaluation is not old.
    """
    query = select(Evaluation, Corpus.name).join(Corpus).where(Evaluation.completed_at.is_(None))
    if only is not None:
        query = query.where(Evaluation.id == only)
    busy = _used_by_jobs(session, before)
    referenced = _curve_evaluations(session) | set(session.scalars(select(Selection.evaluation_id)))
    free = []
    for row, corpus in session.execute(query.order_by(Evaluation.id)).all():
        times = (
            select(Evaluation.created_at).where(Evaluation.id == row.id),
            select(func.max(LossChunk.created_at)).where(LossChunk.evaluation_id == row.id),
            select(func.max(MeasureChunk.created_at)).where(MeasureChunk.evaluation_id == row.id),
        )
        if corpus not in busy and row.id not in referenced and _is_older(session, before, times):
            free.append(row.id)
    return free


def free_similarities(session: Session, before: datetime, only: int | None = None) -> list[int]:
    """Return ids of unfinished similarities older than a time that nothing refers to."""
    query = (
        select(Similarity.id, Corpus.name)
        .join(Selection, Similarity.selection_id == Selection.id)
        .join(Corpus, Selection.corpus_id == Corpus.id)
        .where(Similarity.completed_at.is_(None))
        .where(~select(Discovery.id).where(Discovery.similarity_id == Similarity.id).exists())
    )
    if only is not None:
        query = query.where(Similarity.id == only)
    busy = _used_by_jobs(session, before)
    free = []
    for key, corpus in session.execute(query.order_by(Similarity.id)).all():
        stripes = select(func.max(SimilarityStripe.created_at))
        times = (
            select(Similarity.created_at).where(Similarity.id == key),
            stripes.where(SimilarityStripe.similarity_id == key),
        )
        if corpus not in busy and _is_older(session, before, times):
            free.append(key)
    return free


def is_pasted(session: Session, corpus: Corpus) -> bool:
    """Return whether a corpus holds pasted text, by its document and not only its name."""
    if not PASTED.match(corpus.name) or corpus.n_documents != 1:
        return False
    query = select(Document.source).where(Document.corpus_id == corpus.id)
    return session.scalars(query).all() == ["pasted"]


def _is_referenced(session: Session, corpus: Corpus) -> bool:
    """Return whether a selection, a cluster's curve or another corpus's curves use a corpus."""
    evaluations = select(Evaluation.id).where(Evaluation.corpus_id == corpus.id)
    curve_sets = select(CurveSet.id).where(CurveSet.corpus_id == corpus.id)
    queries = (
        select(Selection.id).where(Selection.corpus_id == corpus.id),
        select(Selection.id).where(Selection.evaluation_id.in_(evaluations)),
        select(ClusterCurve.cluster_id).where(ClusterCurve.curve_set_id.in_(curve_sets)),
    )
    if any(session.execute(query.limit(1)).first() for query in queries):
        return True
    own = set(session.scalars(evaluations))
    return bool(own & _curve_evaluations(session, except_corpus=corpus.id))


def jobs_of(session: Session, name: str) -> list[JobUse]:
    """Return the jobs that read or created a corpus."""
    return [use for use in job_uses(session) if name in use.corpora]


def free_corpora(session: Session, before: datetime, only: int | None = None) -> list[int]:
    """Return ids of pasted corpora last used before a time that nothing refers to.

    A newer job that created or read the corpus keeps it: the job's page shows it, and the same
    request returns this job instead of pasting again.
    """
    query = select(Corpus).where(Corpus.name.like("paste-%")).order_by(Corpus.id)
    if only is not None:
        query = query.where(Corpus.id == only)
    ended = set(old_jobs(session, before))
    free = []
    for corpus in session.scalars(query).all():
        times = (
            select(Corpus.created_at).where(Corpus.id == corpus.id),
            select(func.max(Evaluation.created_at)).where(Evaluation.corpus_id == corpus.id),
            select(func.max(TargetLoss.created_at)).where(TargetLoss.corpus_id == corpus.id),
        )
        if (
            is_pasted(session, corpus)
            and _is_older(session, before, times)
            and all(use.id in ended for use in jobs_of(session, corpus.name))
            and not _is_referenced(session, corpus)
        ):
            free.append(corpus.id)
    return free
