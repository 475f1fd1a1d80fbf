"""discover: quanta under one checkpoint, by clustering gradients (arXiv:2303.13506, section 5)."""

from sqlalchemy.orm import Session

from backend.jobs.kinds.base import Cost, JobKind, JobParams, JobResult, Task
from backend.jobs.kinds.plans import Plan, Slice
from backend.read.checkpoints import reference_evaluation
from backend.schemas.discover import DiscoverParameters
from backend.store.database import Store
from backend.store.lookup import corpus_named, model_named, suite_named
from backend.store.tables import Discovery

# 2N forward, 4N backward (arXiv:2001.08361, section 2.1).
GRADIENT_FLOP = 6.0


def _validate(store: Store, session: Session, request: DiscoverParameters) -> JobParams:
    checkpoint = reference_evaluation(session, request).checkpoint
    return {
        **request.model_dump(),
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
    from backend.stages.discover import discover
    from backend.stages.select import SELECTION_PARAMETERS, select_predictions
    from backend.stages.similarity import compute_similarity

    store, params = task.store, DiscoverParameters.parse(task.params)
    if task.unit[0] == "cluster":
        return _clusterings(store, discover(store, params, task.compute, task.progress))
    # Discoveries with another seed or other n_clusters share the selection.
    names = ("suite", "corpus", "model", "step", *sorted(SELECTION_PARAMETERS))
    with store.claim(f"select {[task.params[name] for name in names]}"):
        selection = select_predictions(store, params)
    if task.unit[0] == "stripes":
        _, part, parts = task.unit
        compute_similarity(store, selection, task.compute, task.progress, part=(part, parts))
    return None


def _clusterings(store: Store, discovery_id: int) -> JobResult:
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
