"""evaluate: losses of every token of a corpus under checkpoints of a suite."""

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task, as_request
from backend.jobs.kinds.checkpoints import as_pairs, checkpoint_id, find_checkpoints, forward_flop
from backend.jobs.kinds.plans import Plan, Slice
from backend.read.checkpoints import requested_checkpoints
from backend.schemas.evaluate import EvaluateParameters
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Checkpoint, Corpus, Evaluation, LossChunk, MeasureChunk

# Slices are rows of the engine's tables, chunks are not: few, yet enough for many workers.
CHUNKS_PER_SLICE = 8


def _validate(store: Store, session: Session, request: EvaluateParameters) -> JobParams:
    return {
        "suite": request.suite,
        "corpus": request.corpus,
        "checkpoints": as_pairs(requested_checkpoints(session, request)),
        "measures": sorted(set(request.measures or ())),
    }


def _as_request(params: JobParams) -> JobParams:
    """Return models and steps; a request has the same steps for every model."""
    steps: dict[str, list[int]] = {}
    for model, step in params["checkpoints"]:
        steps.setdefault(model, []).append(step)
    request = {**as_request(params), "models": list(steps)}
    first = next(iter(steps.values()), [])
    return {**request, "steps": first} if all(s == first for s in steps.values()) else request


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    corpus = corpus_named(session, params["corpus"])
    checkpoints = find_checkpoints(suite_named(session, params["suite"]), params["checkpoints"])
    stored = _count_stored_chunks(session, corpus, checkpoints, params["measures"])
    missing = {c.id: corpus.n_chunks - n for c, n in zip(checkpoints, stored, strict=True)}
    flop = sum(
        forward_flop([c], corpus.n_predictions) * missing[c.id] / max(corpus.n_chunks, 1)
        for c in checkpoints
    )
    return Cost(sum(missing.values()), flop, "FLOP")


def _count_stored_chunks(
    session: Session, corpus: Corpus, checkpoints: Sequence[Checkpoint], measures: Sequence[str]
) -> list[int]:
    """Return the number of stored chunks of each checkpoint that have all of the measures."""
    table = MeasureChunk if measures else LossChunk
    query = (
        select(Evaluation.checkpoint_id, table.chunk)
        .join(Evaluation, Evaluation.id == table.evaluation_id)
        .where(
            Evaluation.corpus_id == corpus.id,
            Evaluation.checkpoint_id.in_([c.id for c in checkpoints]),
        )
    )
    if measures:
        query = query.where(MeasureChunk.name.in_(measures))
    arrays = Counter((checkpoint, chunk) for checkpoint, chunk in session.execute(query))
    n_arrays = max(1, len(measures))
    complete = Counter(checkpoint for (checkpoint, _), n in arrays.items() if n >= n_arrays)
    return [min(complete[c.id], corpus.n_chunks) for c in checkpoints]


def _plan(store: Store, params: JobParams, n_workers: int) -> Plan:
    with store.session() as session:
        n_chunks = corpus_named(session, params["corpus"]).n_chunks
    slices: list[Slice] = [
        ["chunks", model, step, first, min(first + CHUNKS_PER_SLICE, n_chunks)]
        for model, step in params["checkpoints"]
        for first in range(0, n_chunks, CHUNKS_PER_SLICE)
    ]
    return Plan([slices])


def _perform(task: Task) -> None:
    from backend.stages.evaluate import evaluate

    _, model, step, chunk = task.unit
    with task.store.session() as session:
        corpus = corpus_named(session, task.params["corpus"])
        checkpoint = checkpoint_id(task, session, model, step)
    measures = task.params["measures"]
    with task.store.claim(f"evaluate {corpus.id} {checkpoint} {chunk}"):
        evaluate(
            task.store, corpus, [checkpoint], task.compute, task.progress, measures, chunks=(chunk,)
        )


def _result(params: JobParams) -> JobResult:
    page = f"/documents?{urlencode({'corpus': params['corpus']})}"
    return {"suite": params["suite"], "corpus": params["corpus"], "page": page}


EVALUATE = JobKind(
    name="evaluate",
    title="Evaluation",
    summary="Losses of every token of a corpus under checkpoints of a suite.",
    unit="chunks",
    schema=EvaluateParameters,
    validate=_validate,
    cost=_cost,
    plan=_plan,
    perform=_perform,
    result=_result,
    as_request=_as_request,
    is_logged=True,
)
