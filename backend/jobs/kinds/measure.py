"""measure: p(chosen token) in the place of every token of a document."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFoundError, NotReadyError
from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.checkpoints import (
    as_pairs,
    checkpoint_id,
    find_checkpoints,
    forward_flop,
    require_evaluations,
)
from backend.jobs.kinds.plans import Plan, Slice
from backend.read.checkpoints import require_weights
from backend.read.targets import find_token
from backend.schemas.parameters import (
    MAX_INTEGER,
    NAME_PATTERN,
    NO_NUL,
    CorpusName,
    ModelName,
    Number,
    Parameters,
)
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluations,
    has_weights,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.store.tables import Checkpoint, Corpus, Document, Suite

Which = Literal["one", "final", "steps", "all"]


class MeasureParameters(Parameters):
    """p(chosen token) over a document."""

    corpus: CorpusName = Field(title="Corpus")
    document: int = Field(ge=0, le=MAX_INTEGER, title="Document")
    target: str = Field(
        min_length=1,
        max_length=200,
        pattern=NO_NUL,
        title="Token",
        description="As text, or its id as id:198",
        examples=["⏎"],
    )
    suite: str | None = Field(
        None, pattern=NAME_PATTERN, title="Suite", description="First evaluated one by default"
    )
    model: ModelName | None = Field(None, title="Model", description="Largest by default")
    step: Number | None = Field(None, title="Step", description="Last by default")
    checkpoints: Which = Field(
        "one",
        title="Checkpoints",
        description="one, final (each model's last), steps (of the model) or all",
    )


def _validate(store: Store, session: Session, request: MeasureParameters) -> JobParams:
    corpus = corpus_named(session, request.corpus)
    tokenizer_of(corpus)  # refuses one without text
    if session.get(Document, (corpus.id, request.document)) is None:
        raise NotFoundError(
            f"corpus {corpus.name} has no document {request.document}",
            f"Its documents are 0 to {corpus.n_documents - 1}",
        )
    suite = choose_suite(session, corpus, request.suite)
    return {
        "corpus": corpus.name,
        "document": request.document,
        "token": find_token(session, corpus, request.target),
        "suite": suite.name,
        "checkpoints": as_pairs(_choose_checkpoints(session, corpus, suite, request)),
    }


def choose_suite(session: Session, corpus: Corpus, name: str | None) -> Suite:
    """Return the named suite, or else the first with weights that is evaluated on a corpus."""
    if name:
        return require_weights(suite_named(session, name))
    for suite in session.scalars(select(Suite).order_by(Suite.id)):
        if has_weights(suite) and finished_evaluations(session, corpus, suite):
            return suite
    raise NotReadyError(
        f"no suite is evaluated on {corpus.name}", f"Run `quanta evaluate SUITE {corpus.name}`"
    )


def _choose_checkpoints(
    session: Session, corpus: Corpus, suite: Suite, request: MeasureParameters
) -> Sequence[Checkpoint]:
    """Return the evaluated checkpoints of a request, by size, then step."""
    evaluated = [e.checkpoint for e in require_evaluations(session, corpus, suite)]
    if request.checkpoints == "all":
        return evaluated
    last = {c.model_id: c for c in evaluated}
    if request.checkpoints == "final":
        return list(last.values())
    model = model_named(suite, request.model) if request.model else evaluated[-1].model
    if request.checkpoints == "steps":
        return [c for c in evaluated if c.model_id == model.id]
    if request.step is None and model.id in last:
        return [last[model.id]]
    return [checkpoint_at(model, request.step)]


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    corpus = corpus_named(session, params["corpus"])
    checkpoints = find_checkpoints(suite_named(session, params["suite"]), params["checkpoints"])
    return Cost(len(checkpoints), forward_flop(checkpoints, corpus.max_tokens), "FLOP")


def _plan(store: Store, params: JobParams, n_workers: int) -> Plan:
    slices: list[Slice] = [["checkpoint", model, step] for model, step in params["checkpoints"]]
    return Plan([slices])


def _perform(task: Task) -> None:
    from backend.stages.targets import measure_target

    _, model, step = task.unit
    with task.store.session() as session:
        corpus_id = corpus_named(session, task.params["corpus"]).id
        checkpoint = checkpoint_id(task, session, model, step)
    target = (corpus_id, task.params["document"], task.params["token"], checkpoint)
    with task.store.claim(" ".join(map(str, ("measure", *target)))):
        measure_target(task.store, *target, task.compute.device)


def _result(params: JobParams) -> JobResult:
    corpus, document, token = (params[name] for name in ("corpus", "document", "token"))
    page = f"/documents/{corpus}/{document}?measure=p_token&target=id:{token}"
    return {"corpus": corpus, "document": document, "token": token, "page": page}


MEASURE = JobKind(
    name="measure",
    title="p(chosen token)",
    summary="The probability of one token in the place of every token of a document.",
    unit="checkpoints",
    schema=MeasureParameters,
    validate=_validate,
    cost=_cost,
    plan=_plan,
    perform=_perform,
    result=_result,
    has_form=False,
    is_logged=True,
)
