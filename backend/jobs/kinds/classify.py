"""classify: class and scores of every prediction's curve over size and over steps."""

from urllib.parse import urlencode

from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.checkpoints import require_evaluations
from backend.jobs.kinds.plans import sequential_plan
from backend.schemas.classify import ClassifyParameters
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named


def _validate(store: Store, session: Session, request: ClassifyParameters) -> JobParams:
    corpus = corpus_named(session, request.corpus)
    suite = suite_named(session, request.suite)
    evaluations = require_evaluations(session, corpus, suite)
    # The evaluations of now are part of the key: later ones make another job.
    return {
        "suite": suite.name,
        "corpus": corpus.name,
        "evaluations": [evaluation.key[:16] for evaluation in evaluations],
    }


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    corpus = corpus_named(session, params["corpus"])
    # Two bytes a stored loss, each read once.
    return Cost(1, 2.0 * corpus.n_predictions * len(params["evaluations"]), "bytes")


def _perform(task: Task) -> None:
    from backend.stages.classify import classify

    with task.store.session() as session:
        corpus = corpus_named(session, task.params["corpus"])
        suite = suite_named(session, task.params["suite"])
    classify(task.store, corpus, suite, task.progress)


def _result(params: JobParams) -> JobResult:
    names = {name: params[name] for name in ("suite", "corpus")}
    return {**names, "page": f"/scaling?{urlencode(names)}"}


CLASSIFY = JobKind(
    name="classify",
    title="Classes of curves",
    summary="Class and scores of every prediction's curve over size and over steps.",
    unit="stages",
    schema=ClassifyParameters,
    validate=_validate,
    cost=_cost,
    plan=lambda *_: sequential_plan("classify"),
    perform=_perform,
    result=_result,
    is_logged=True,
)
