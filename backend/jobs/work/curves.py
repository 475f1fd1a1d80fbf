"""The work of evaluate and classify jobs: losses, and what their curves look like."""

from urllib.parse import urlencode

from backend.jobs.work.base import Made, Parameters, Plan, Slice, Task, Work, checkpoint_id, stages
from backend.stages.classify import classify
from backend.stages.evaluate import evaluate
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named

# Slices travel through the engine's tables, chunks do not: enough of them for many workers.
CHUNKS_A_SLICE = 8


def _evaluate_plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
    with store.session() as session:
        n_chunks = corpus_named(session, parameters["corpus"]).n_chunks
    slices: list[Slice] = [
        ["chunks", model, step, first, min(first + CHUNKS_A_SLICE, n_chunks)]
        for model, step in parameters["checkpoints"]
        for first in range(0, n_chunks, CHUNKS_A_SLICE)
    ]
    return Plan([slices])


def _evaluate(task: Task) -> None:
    _, model, step, chunk = task.unit
    with task.store.session() as session:
        corpus = corpus_named(session, task.parameters["corpus"])
        checkpoint = checkpoint_id(task, session, model, step)
    measures = task.parameters["measures"]
    with task.store.claimed(f"evaluate {corpus.id} {checkpoint} {chunk}"):
        evaluate(
            task.store, corpus, [checkpoint], task.compute, task.progress, measures, chunks=(chunk,)
        )


def _classify(task: Task) -> None:
    with task.store.session() as session:
        corpus = corpus_named(session, task.parameters["corpus"])
        suite = suite_named(session, task.parameters["suite"])
    classify(task.store, corpus, suite, task.progress)


def _names(parameters: Parameters) -> dict[str, str]:
    return {name: parameters[name] for name in ("suite", "corpus")}


def _evaluated(parameters: Parameters) -> Made:
    return {
        **_names(parameters),
        "page": f"/documents?{urlencode({'corpus': parameters['corpus']})}",
    }


def _classified(parameters: Parameters) -> Made:
    return {**_names(parameters), "page": "/scaling?" + urlencode(_names(parameters))}


EVALUATE = Work(_evaluate_plan, _evaluate, _evaluated, is_counted=True)
CLASSIFY = Work(lambda *_: stages("classify"), _classify, _classified, is_counted=True)
