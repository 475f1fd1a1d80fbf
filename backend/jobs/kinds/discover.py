"""discover: quanta under one checkpoint, by clustering gradients (arXiv:2303.13506, section 5)."""

from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.checkpoints import require_weights
from backend.jobs.kinds.plans import Plan, Slice
from backend.schemas.parameters import (
    MAX_INTEGER,
    CorpusName,
    ModelName,
    Number,
    Parameters,
    SuiteName,
)
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
)
from backend.store.tables import Discovery

# 2N forward, 4N backward (arXiv:2001.08361, section 2.1).
GRADIENT_FLOP = 6.0


class DiscoverParameters(Parameters):
    """A discovery; defaults are the published settings where they are not a corpus's size."""

    suite: SuiteName = Field(title="Suite")
    corpus: CorpusName = Field(title="Corpus", description="Evaluated under the checkpoint")
    model: ModelName | None = Field(
        None, title="Model", description="The largest if left out", examples=["s3"]
    )
    step: Number | None = Field(None, title="Step", description="The last if left out")
    threshold_nats: float = Field(
        0.1, gt=0, le=100, allow_inf_nan=False, title="Losses below, nats"
    )
    induction_filter: bool = Field(
        True, title="Leave out what induction explains", description="Copies from the context"
    )
    stride: int = Field(1, ge=1, le=MAX_INTEGER, title="Keep every …th")
    limit: int = Field(10_000, ge=10, le=100_000, title="Predictions at most")
    n_clusters: list[Annotated[int, Field(ge=2, le=100_000)]] = Field(
        title="Numbers of clusters", min_length=1, max_length=200, examples=[[10, 20, 50]]
    )
    n_init: int = Field(30, ge=1, le=1000, title="k-means starts")
    seed: Number = Field(0, title="Seed of those starts")


def _validate(store: Store, session: Session, request: DiscoverParameters) -> JobParams:
    corpus = corpus_named(session, request.corpus)
    suite = require_weights(suite_named(session, request.suite))
    model = model_named(suite, request.model) if request.model else suite.models[-1]
    checkpoint = checkpoint_at(model, request.step)
    finished_evaluation(session, corpus, checkpoint)
    return {
        **request.model_dump(),
        "suite": suite.name,
        "corpus": corpus.name,
        "model": checkpoint.model.name,
        "step": checkpoint.step,
        "n_clusters": sorted(set(request.n_clusters)),
    }


def _cost(store: Store, session: Session, params: JobParams) -> Cost:
    corpus = corpus_named(session, params["corpus"])
    model = model_named(suite_named(session, params["suite"]), params["model"])
    size = min(params["limit"], corpus.n_predictions)
    # A context is half a document on average; every pair of gradients is multiplied once.
    gradients = GRADIENT_FLOP * model.nonembedding_parameters * size * corpus.max_tokens / 2
    return Cost(None, gradients + float(size) ** 2 * model.nonembedding_parameters, "FLOP")


def _plan(store: Store, params: JobParams, n_workers: int) -> Plan:
    # Every part computes the gradients of its stripes: more parts than workers would only repeat
    # that. Within a part every stripe is committed by itself.
    parts: list[Slice] = [["stripes", part, n_workers] for part in range(n_workers)]
    return Plan([[["select"]], parts, [["cluster"]]])


def _perform(task: Task) -> JobResult | None:
    from backend.stages.discover import DiscoverySpec, check_spec, discover
    from backend.stages.select import SelectionSpec, select_predictions
    from backend.stages.similarity import compute_similarity

    store, params = task.store, task.params
    with store.session() as session:
        suite = suite_named(session, params["suite"])
        checkpoint = checkpoint_at(model_named(suite, params["model"]), params["step"])
        corpus = corpus_named(session, params["corpus"])
        evaluation = finished_evaluation(session, corpus, checkpoint)
    chosen = SelectionSpec(
        *(params[n] for n in ("threshold_nats", "induction_filter", "stride", "limit"))
    )
    spec = DiscoverySpec(chosen, tuple(params["n_clusters"]), params["n_init"], params["seed"])
    if task.unit[0] == "cluster":
        return _made(store, discover(store, evaluation, spec, task.compute, task.progress))
    with store.claim(f"select {evaluation.id} {chosen}"):
        selection = select_predictions(store, evaluation.id, chosen)
    check_spec(spec, selection.size)
    if task.unit[0] == "stripes":
        _, part, parts = task.unit
        compute_similarity(store, selection, task.compute, task.progress, part=(part, parts))
    return None


def _made(store: Store, discovery_id: int) -> JobResult:
    with store.session() as session:
        rows = session.get_one(Discovery, discovery_id).clusterings
        clusterings = {str(row.n_clusters): row.id for row in rows}
    return {
        "discovery": discovery_id,
        "clusterings": clusterings,
        "page": f"/clusterings/{list(clusterings.values())[-1]}",
    }


DISCOVER = JobKind(
    name="discover",
    title="Discovery of quanta",
    summary="Predictions that a model gets right, clustered by the angle between their gradients.",
    unit="stages",
    schema=DiscoverParameters,
    validate=_validate,
    cost=_cost,
    plan=_plan,
    perform=_perform,
    result=lambda params: {name: params[name] for name in ("suite", "corpus")},
    is_logged=True,
)
