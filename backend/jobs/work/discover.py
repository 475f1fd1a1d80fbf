"""The work of discover jobs: select, cosines by stripes, cluster."""

from backend.jobs.work.base import Made, Parameters, Plan, Slice, Task, Work
from backend.stages.discover import DiscoverySpec, check_spec, discover
from backend.stages.select import SelectionSpec, select_predictions
from backend.stages.similarity import compute_similarity
from backend.store.database import Store
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
)
from backend.store.tables import Discovery


def _plan(store: Store, parameters: Parameters, n_workers: int) -> Plan:
    # Every worker computes gradients for its stripes: more parts than workers would only repeat
    # those. Within a part, every stripe is committed by itself.
    parts: list[Slice] = [["stripes", part, n_workers] for part in range(n_workers)]
    return Plan([[["select"]], parts, [["cluster"]]])


def _perform(task: Task) -> Made | None:
    store, parameters = task.store, task.parameters
    with store.session() as session:
        suite = suite_named(session, parameters["suite"])
        checkpoint = checkpoint_at(model_named(suite, parameters["model"]), parameters["step"])
        corpus = corpus_named(session, parameters["corpus"])
        evaluation = finished_evaluation(session, corpus, checkpoint)
    chosen = SelectionSpec(
        *(parameters[n] for n in ("threshold_nats", "induction_filter", "stride", "limit"))
    )
    spec = DiscoverySpec(
        chosen, tuple(parameters["n_clusters"]), parameters["n_init"], parameters["seed"]
    )
    if task.unit[0] == "cluster":
        return _made(store, discover(store, evaluation, spec, task.compute, task.progress))
    with store.claimed(f"select {evaluation.id} {chosen}"):
        selection = select_predictions(store, evaluation.id, chosen)
    check_spec(spec, selection.size)
    if task.unit[0] == "stripes":
        _, part, parts = task.unit
        compute_similarity(store, selection, task.compute, task.progress, part=(part, parts))
    return None


def _made(store: Store, discovery_id: int) -> Made:
    with store.session() as session:
        found = session.get_one(Discovery, discovery_id).clusterings
        clusterings = {str(one.n_clusters): one.id for one in found}
    return {
        "discovery": discovery_id,
        "clusterings": clusterings,
        "page": f"/clusterings/{list(clusterings.values())[-1]}",
    }


DISCOVER = Work(
    _plan,
    _perform,
    lambda parameters: {name: parameters[name] for name in ("suite", "corpus")},
    is_counted=True,
)
