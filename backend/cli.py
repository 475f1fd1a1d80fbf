"""The `quanta` command. Long commands show progress, can be interrupted, and resume."""

import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from backend.commands import train as _train  # noqa: F401 - adds its command
from backend.commands.common import Json, Workers, bars, numbers, opened_store, result
from backend.commands.corpus import corpus_cli
from backend.commands.experiment import experiment_cli
from backend.commands.export_predictions import export_cli
from backend.commands.fit import fit_cli
from backend.commands.imports import import_cli
from backend.commands.job import job_cli
from backend.commands.operations import backup, prune, restore
from backend.commands.suite import suite_cli
from backend.commands.token import token_cli
from backend.commands.worker import worker
from backend.errors import QuantaError
from backend.settings import settings
from backend.store import database as db
from backend.store.database import Store
from backend.store.database_errors import as_store_error
from backend.store.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
)
from backend.store.tables import Checkpoint, Evaluation, Model

# Open answers get this long when the server ends.
GRACE_SECONDS = 3
# Most systems let a process open 1,024 files, of which the database takes some.
MAX_CONNECTIONS = 500

cli = typer.Typer(
    no_args_is_help=True,
    help="Discover, browse and follow the quanta that language models learn.",
    pretty_exceptions_enable=False,
)
db_cli = typer.Typer(no_args_is_help=True, help="The database.")
cli.add_typer(db_cli, name="db")
cli.add_typer(corpus_cli, name="corpus")
cli.add_typer(export_cli, name="export")
cli.add_typer(fit_cli, name="fit")
cli.add_typer(experiment_cli, name="experiment")
cli.add_typer(suite_cli, name="suite")
cli.add_typer(job_cli, name="job")
cli.command()(worker)
cli.command()(backup)
cli.command()(restore)
cli.command()(prune)
cli.add_typer(import_cli, name="import")
cli.add_typer(token_cli, name="token")

INTERRUPTED = 130  # Typer's exit code for Ctrl-C


@db_cli.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Create the database, or bring it to this program's schema."""
    config = settings()
    config.data_dir.mkdir(parents=True, exist_ok=True)
    engine = db.make_engine(config.url)
    done = db.upgrade_schema(engine)
    revision = db.revisions(engine)[0]
    state = "upgraded to" if done.changed else "already at"
    kept = str(done.backup) if done.backup else None
    result(
        as_json,
        f"{state} revision {revision}" + (f"; before that: {kept}" if kept else ""),
        revision=revision,
        changed=done.changed,
        backup=kept,
    )


@cli.command()
def evaluate(
    suite: str,
    corpus: str,
    model: Annotated[list[str] | None, typer.Option(help="Only these models.")] = None,
    step: Annotated[list[int] | None, typer.Option(help="Only these steps.")] = None,
    measures: Annotated[
        str, typer.Option(help="Store beside the loss: rank,entropy, or either.")
    ] = "",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute the loss of every token of a corpus under every checkpoint of a suite."""
    from backend.stages import devices
    from backend.stages.evaluate import evaluate as run

    store = opened_store()
    with store.session() as session:
        row, home = corpus_named(session, corpus), suite_named(session, suite)
        models = [model_named(home, name) for name in model] if model else home.models
        checkpoints = [
            checkpoint_at(m, s).id
            for m in models
            for s in (step or [c.step for c in m.checkpoints])
        ]
    named = [name.strip() for name in measures.split(",") if name.strip()]
    run(store, row, checkpoints, devices.resolve(settings(), workers), bars(as_json), named)
    with store.session() as session:
        rows = session.scalars(
            select(Evaluation)
            .join(Checkpoint)
            .where(Evaluation.checkpoint_id.in_(checkpoints), Evaluation.corpus_id == row.id)
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
    result(as_json, "\n".join(lines), evaluations=losses)


@cli.command()
def classify(suite: str, corpus: str, as_json: Json = False) -> None:
    """Classify every prediction's curve over model size and over training step."""
    from backend.stages.classify import classify as run
    from backend.store.tables import CurveSet, Evaluation

    store = opened_store()
    with store.session() as session:
        row, home = corpus_named(session, corpus), suite_named(session, suite)
    ids = run(store, row, home, bars(as_json))
    with store.session() as session:
        sets = [session.get_one(CurveSet, i) for i in ids]
        points = [
            [session.get_one(Evaluation, e).checkpoint for e in s.evaluation_ids] for s in sets
        ]
        shares = [
            {
                "axis": s.axis,
                "model": s.model.name if s.model else None,
                "models": list(dict.fromkeys(c.model.name for c in of_set)),
                "steps": sorted({c.step for c in of_set}),
                "classes": (s.summary or {})["classes"],
            }
            for s, of_set in zip(sets, points, strict=True)
        ]
    lines = [_shares_line(s) for s in shares]
    result(as_json, "\n".join(lines), curve_sets=shares)


def _shares_line(curve_set: dict[str, Any]) -> str:
    models, steps = curve_set["models"], curve_set["steps"]
    of_model = (
        f" of {curve_set['model']}, {len(steps)} steps"
        if curve_set["model"]
        else f", {', '.join(models)} at step {steps[-1]}"
    )
    shares = ", ".join(f"{name} {share:.1%}" for name, share in curve_set["classes"].items())
    return f"over {curve_set['axis']}{of_model}: {shares}"


@cli.command()
def discover(
    suite: str,
    corpus: str,
    model: Annotated[str, typer.Option(help="Whose gradients are clustered.")],
    step: Annotated[int | None, typer.Option(help="Its step; the last if left out.")] = None,
    threshold: Annotated[float, typer.Option(help="Keep losses below, in nats.")] = 0.1,
    stride: Annotated[int, typer.Option(help="Keep every stride-th.")] = 1,
    limit: Annotated[int, typer.Option(help="Keep at most so many.")] = 10_000,
    induction_filter: Annotated[bool, typer.Option(help="Drop what induction explains.")] = True,
    n_clusters: Annotated[str, typer.Option(help="Such as 10-100:10,125.")] = "10-100:10",
    n_init: Annotated[int, typer.Option(help="k-means starts.")] = 30,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Discover quanta: select predictions, compare their gradients, cluster them."""
    from backend.stages import devices
    from backend.stages.discover import DiscoverySpec
    from backend.stages.discover import discover as run
    from backend.stages.select import SelectionSpec

    store = opened_store()
    with store.session() as session:
        row = corpus_named(session, corpus)
        checkpoint = checkpoint_at(model_named(suite_named(session, suite), model), step)
        evaluation = finished_evaluation(session, row, checkpoint)
    spec = DiscoverySpec(
        selection=SelectionSpec(threshold, induction_filter, stride, limit),
        n_clusters=numbers(n_clusters, "--n-clusters"),
        n_init=n_init,
        seed=seed,
    )
    found = run(store, evaluation, spec, devices.resolve(settings()), bars(as_json))
    _print_discovery(store, found, as_json)


def _print_discovery(store: Store, discovery_id: int, as_json: bool) -> None:
    from backend.store.tables import Discovery

    with store.session() as session:
        row = session.get_one(Discovery, discovery_id)
        clusterings = {c.n_clusters: c.id for c in row.clusterings}
        size = row.similarity.size
        fit = (row.rank_frequency or {}).get("fit") or {}
    slope = f"{fit['slope']:.3f}" if fit else "none: too few ranks"
    result(
        as_json,
        f"{size} predictions; clusterings {clusterings}; envelope slope {slope}",
        discovery=discovery_id,
        size=size,
        clusterings=clusterings,
        envelope_slope=fit.get("slope"),
        slope_window=[fit["first_rank"], fit["last_rank"]] if fit else None,
    )


@cli.command()
def demo(
    documents: Annotated[
        int | None, typer.Option(min=2, help="Only the first documents, for a quick look.")
    ] = None,
    n_clusters: Annotated[str | None, typer.Option(help="Such as 10-100:10,125.")] = None,
    workers: Workers = None,
    chunk_predictions: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Compute the demo from the bundled models and documents; what is stored is kept."""
    from backend.stages import demo as stage

    store = opened_store()
    spec = stage.DemoSpec(n_documents=documents)
    if chunk_predictions:  # smaller units of work, so that tests can end a run between them
        spec = replace(spec, chunk_predictions=chunk_predictions)
    if n_clusters:
        spec = replace(spec, n_clusters=numbers(n_clusters, "--n-clusters"))
    if stage.is_built(store, spec):
        result(as_json, "the demo is built; nothing to compute", built=True)
        return
    from backend.stages import devices

    compute = devices.resolve(settings(), workers)
    found = stage.build_demo(store, spec, compute, bars(as_json))
    _print_discovery(store, found, as_json)


@cli.command()
def check(as_json: Json = False) -> None:
    """Verify every stored array's checksum and print the content hash of all results."""
    from backend.store.content_hash import content_hash

    digest, counts = content_hash(opened_store())
    text = "\n".join([*(f"{name}: {n}" for name, n in counts.items()), f"content hash {digest}"])
    result(as_json, text, content_hash=digest, arrays=counts)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="QUANTA_HOST; 127.0.0.1 if left out.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="QUANTA_PORT.")] = None,
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Execute jobs beside the server.")
    ] = True,
    token: Annotated[
        Literal["auto"] | None,
        typer.Option(help="auto: protect this run with a fresh token, and print a login link."),
    ] = None,
) -> None:
    """Serve the dashboard and the API, with one worker that executes jobs."""
    import uvicorn

    from backend.commands import serving
    from backend.jobs.local_worker import LocalWorker

    config = serving.run_settings(has_own_token=token is not None)
    changes = {"host": host, "port": port}
    config = config.model_copy(update={k: v for k, v in changes.items() if v is not None})
    store = serving.open_checked_store(config)
    typer.echo(f"Quanta Explorer on http://{config.host}:{config.port}", err=True)
    if token is not None:
        typer.echo(serving.login_link(store), err=True)
    local = LocalWorker(config)
    if with_worker:
        local.start()
    try:
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=config.host,
            port=config.port,
            log_level="warning",
            server_header=False,
            # Bounds what waits: requests that arrive slowly, or not at all.
            http="app.web.connections:Connection",
            limit_concurrency=MAX_CONNECTIONS,
            ws="none",
            # Followers of jobs keep their connection open for minutes.
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    finally:
        if with_worker:
            local.stop()


def _refused(error: QuantaError) -> int:
    typer.echo(f"error: {error.problem}.\n{error.remedy}.", err=True)
    return 2


def _guarded(run: Callable[[], None]) -> int:
    try:
        run()
    except QuantaError as error:
        return _refused(error)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        if (fault := as_store_error(error)) is not None:
            return _refused(fault)
        if not isinstance(error, IntegrityError | OperationalError):
            raise
        typer.echo(
            f"error: the database refused a write ({error.orig}).\n"
            "If another quanta command is writing to it, wait for that one and run this again; "
            "what is finished is kept.",
            err=True,
        )
        return 2
    except SystemExit as stop:  # how Typer ends, whatever the reason
        if stop.code == INTERRUPTED:
            typer.echo("interrupted; run the same command again to continue", err=True)
        raise
    return 0


def main() -> None:
    """Run the command line."""
    sys.exit(_guarded(cli))


if __name__ == "__main__":
    main()
