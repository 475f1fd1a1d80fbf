"""`quanta evaluate`, `classify`, `discover` and `demo`: the stages of an analysis."""

from dataclasses import replace
from typing import Annotated, Any

import typer
from sqlalchemy import select

from backend.commands.common import (
    Json,
    Workers,
    bars,
    open_default_store,
    parse_numbers,
    print_result,
)
from backend.commands.options import parameter_options
from backend.read.checkpoints import requested_checkpoints
from backend.schemas.classify import ClassifyParameters
from backend.schemas.discover import DiscoverParameters
from backend.schemas.evaluate import EvaluateParameters
from backend.settings import settings
from backend.store.database import Store
from backend.store.lookup import corpus_named, suite_named
from backend.store.tables import Checkpoint, CurveSet, Discovery, Evaluation, Model

PLACE = ("suite", "corpus")


@parameter_options(
    EvaluateParameters, arguments=PLACE, names={"models": "--model", "steps": "--step"}
)
def evaluate(params: EvaluateParameters, workers: Workers = None, as_json: Json = False) -> None:
    """Compute the loss of every token of a corpus under every checkpoint of a suite."""
    from backend.stages import devices
    from backend.stages.evaluate import evaluate as run

    store = open_default_store()
    with store.session() as session:
        corpus = corpus_named(session, params.corpus)
        checkpoints = [c.id for c in requested_checkpoints(session, params)]
    compute = devices.resolve(settings(), workers)
    run(store, corpus, checkpoints, compute, bars(as_json), params.measures or ())
    with store.session() as session:
        rows = session.scalars(
            select(Evaluation)
            .join(Checkpoint)
            .where(Evaluation.checkpoint_id.in_(checkpoints), Evaluation.corpus_id == corpus.id)
            .join(Model)
            .order_by(Model.nonembedding_parameters, Checkpoint.step)
        )
        losses = [
            {
                "model": e.checkpoint.model.name,
                "step": e.checkpoint.step,
                "mean_loss_nats": e.mean_loss_nats,
            }
            for e in rows
        ]
    lines = [f"{r['model']} step {r['step']}: {r['mean_loss_nats']:.4f} nats" for r in losses]
    print_result(as_json, "\n".join(lines), evaluations=losses)


@parameter_options(ClassifyParameters, arguments=PLACE)
def classify(params: ClassifyParameters, as_json: Json = False) -> None:
    """Classify every prediction's curve over model size and over training step."""
    from backend.stages.classify import classify as run

    store = open_default_store()
    with store.session() as session:
        corpus, suite = corpus_named(session, params.corpus), suite_named(session, params.suite)
    ids = run(store, corpus, suite, bars(as_json))
    with store.session() as session:
        sets = [session.get_one(CurveSet, i) for i in ids]
        points = [
            [session.get_one(Evaluation, e).checkpoint for e in s.evaluation_ids] for s in sets
        ]
        shares = [
            {
                "axis": s.axis,
                "model": s.model.name if s.model else None,
                "models": list(dict.fromkeys(c.model.name for c in checkpoints)),
                "steps": sorted({c.step for c in checkpoints}),
                "classes": (s.summary or {})["classes"],
            }
            for s, checkpoints in zip(sets, points, strict=True)
        ]
    print_result(as_json, "\n".join(map(_shares_line, shares)), curve_sets=shares)


def _shares_line(curve_set: dict[str, Any]) -> str:
    models, steps = curve_set["models"], curve_set["steps"]
    points = (
        f" of {curve_set['model']}, {len(steps)} steps"
        if curve_set["model"]
        else f", {', '.join(models)} at step {steps[-1]}"
    )
    shares = ", ".join(f"{name} {share:.1%}" for name, share in curve_set["classes"].items())
    return f"over {curve_set['axis']}{points}: {shares}"


@parameter_options(
    DiscoverParameters,
    arguments=PLACE,
    former={"threshold": "max_loss_nats"},
    defaults={"n_clusters": "10-100:10"},
)
def discover(params: DiscoverParameters, as_json: Json = False) -> None:
    """Discover quanta: select predictions, compare their gradients, cluster them."""
    from backend.stages import devices
    from backend.stages.discover import discover as run

    store = open_default_store()
    discovery_id = run(store, params, devices.resolve(settings()), bars(as_json))
    _print_discovery(store, discovery_id, as_json)


def _print_discovery(store: Store, discovery_id: int, as_json: bool) -> None:
    with store.session() as session:
        row = session.get_one(Discovery, discovery_id)
        clusterings = {c.n_clusters: c.id for c in row.clusterings}
        size = row.similarity.size
        fit = (row.rank_frequency or {}).get("fit") or {}
    slope = f"{fit['slope']:.3f}" if fit else "none: too few ranks"
    print_result(
        as_json,
        f"{size} predictions; clusterings {clusterings}; envelope slope {slope}",
        discovery=discovery_id,
        size=size,
        clusterings=clusterings,
        envelope_slope=fit.get("slope"),
        slope_window=[fit["first_rank"], fit["last_rank"]] if fit else None,
    )


def demo(
    documents: Annotated[
        int | None, typer.Option(min=2, help="Only the first documents, for a quick look.")
    ] = None,
    n_clusters: Annotated[str | None, typer.Option(help="Such as 10-100:10,125.")] = None,
    workers: Workers = None,
    chunk_predictions: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Compute the demo from the bundled models and documents; skip stored results."""
    from backend.stages import demo as stage

    store = open_default_store()
    spec = stage.DemoSpec(n_documents=documents)
    if chunk_predictions:  # smaller units of work, so that tests can end a run between them
        spec = replace(spec, chunk_predictions=chunk_predictions)
    if n_clusters:
        spec = replace(spec, n_clusters=parse_numbers(n_clusters, "--n-clusters"))
    if stage.is_built(store, spec):
        print_result(as_json, "the demo is built; nothing to compute", built=True)
        return
    from backend.stages import devices

    compute = devices.resolve(settings(), workers)
    discovery_id = stage.build_demo(store, spec, compute, bars(as_json))
    _print_discovery(store, discovery_id, as_json)
