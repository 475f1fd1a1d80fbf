"""The `quanta` command. Long commands show progress, can be interrupted, and resume."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from backend import db
from backend.cli_progress import Bars
from backend.db import Store, open_store
from backend.errors import QuantaError
from backend.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
)
from backend.models import Checkpoint, Evaluation, Model, Suite
from backend.settings import Settings, settings

cli = typer.Typer(
    no_args_is_help=True,
    help="Discover, browse and follow the quanta that language models learn.",
    pretty_exceptions_enable=False,
)
db_cli = typer.Typer(no_args_is_help=True, help="The database.")
corpus_cli = typer.Typer(no_args_is_help=True, help="Corpora of text.")
suite_cli = typer.Typer(no_args_is_help=True, help="Suites of models.")
cli.add_typer(db_cli, name="db")
cli.add_typer(corpus_cli, name="corpus")
cli.add_typer(suite_cli, name="suite")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, no progress.")]
Workers = Annotated[int | None, typer.Option(help="Evaluation processes; one a core if left out.")]

INTERRUPTED = 130  # Typer's exit code for Ctrl-C
MAX_NUMBERS = 10_000


def _bars(as_json: bool) -> Bars:
    return Bars(Console(stderr=True, quiet=as_json))


def _result(as_json: bool, text: str, **fields: Any) -> None:
    typer.echo(json.dumps(fields) if as_json else text)


def _log_work(config: Settings) -> None:
    """Append one line for every computed unit of work to `quanta.log` in the data directory."""
    handler = logging.FileHandler(config.data_dir / "quanta.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("quanta.work")
    for former in log.handlers:
        former.close()
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _store() -> Store:
    config = settings()
    store = open_store(config)
    _log_work(config)
    return store


def _numbers(text: str, parameter: str) -> tuple[int, ...]:
    """Parse "10,20,30" or "10-100:10" (from, to and including, by)."""
    numbers: list[int] = []
    try:
        for part in text.split(","):
            bounds, _, by = part.partition(":")
            first, _, last = bounds.partition("-")
            numbers += range(int(first), int(last or first) + 1, int(by or 1))[:MAX_NUMBERS]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r}; write numbers such as 10,20 or 10-100:10", param_hint=parameter
        ) from error
    if len(numbers) >= MAX_NUMBERS:
        raise typer.BadParameter(
            f"{text!r} are {MAX_NUMBERS} numbers or more", param_hint=parameter
        )
    return tuple(numbers)


@db_cli.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Create the database, or bring it to this program's schema."""
    config = settings()
    config.data_dir.mkdir(parents=True, exist_ok=True)
    engine = db.make_engine(config.url)
    changed = db.upgrade(engine)
    revision = db.revisions(engine)[0]
    state = "upgraded to" if changed else "already at"
    _result(as_json, f"{state} revision {revision}", revision=revision, changed=changed)


@suite_cli.command("add")
def suite_add(
    folder: Annotated[Path, typer.Argument(help="Holds MODEL/stepS/ and tokenizer.json.")],
    name: Annotated[str | None, typer.Option(help="Its name; the folder's if left out.")] = None,
    description: Annotated[str, typer.Option(help="One sentence for people.")] = "",
    as_json: Json = False,
) -> None:
    """Register a folder of checkpoints as a suite."""
    from backend.stages.suites import add_suite

    suite = add_suite(_store(), folder, name or folder.resolve().name, description, _bars(as_json))
    _result(as_json, f"suite {suite.name} is registered", suite=suite.name)


@suite_cli.command("list")
def suite_list(as_json: Json = False) -> None:
    """List suites with their models and steps."""
    with _store().session() as session:
        suites = [
            {"suite": s.name, "models": {m.name: [c.step for c in m.checkpoints] for m in s.models}}
            for s in session.scalars(select(Suite).order_by(Suite.name))
        ]
    lines = [f"{s['suite']}: {s['models']}" for s in suites] or ["no suite yet: `quanta suite add`"]
    _result(as_json, "\n".join(lines), suites=suites)


@corpus_cli.command("add")
def corpus_add(
    files: Annotated[list[Path], typer.Argument(help=".jsonl (id, source, license, text) or text")],
    name: Annotated[str, typer.Option(help="Its name in URLs.")],
    tokenizer: Annotated[Path, typer.Option(help="tokenizer.json of the models.")],
    max_tokens: Annotated[int, typer.Option(help="Cut documents to their first T tokens.")] = 1024,
    prefix: Annotated[str, typer.Option(help="Token ids before every document, such as 0.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Keep the first documents.")] = None,
    as_json: Json = False,
) -> None:
    """Tokenise documents and store them as a corpus."""
    from backend.stages.corpora import CorpusSpec, add_corpus

    spec = CorpusSpec(
        name=name,
        files=tuple(files),
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        prefix=_numbers(prefix, "--prefix") if prefix else (),
        limit=limit,
    )
    corpus = add_corpus(_store(), spec, _bars(as_json))
    _result(
        as_json,
        f"corpus {corpus.name}: {corpus.n_documents:,} documents, "
        f"{corpus.n_predictions:,} predictions",
        corpus=corpus.name,
        key=corpus.key,
        documents=corpus.n_documents,
        predictions=corpus.n_predictions,
    )


@cli.command()
def evaluate(
    suite: str,
    corpus: str,
    model: Annotated[list[str] | None, typer.Option(help="Only these models.")] = None,
    step: Annotated[list[int] | None, typer.Option(help="Only these steps.")] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute the loss of every token of a corpus under every checkpoint of a suite."""
    from backend.stages import devices
    from backend.stages.evaluate import evaluate as run

    store = _store()
    with store.session() as session:
        row, home = corpus_named(session, corpus), suite_named(session, suite)
        models = [model_named(home, name) for name in model] if model else home.models
        checkpoints = [
            checkpoint_at(m, s).id
            for m in models
            for s in (step or [c.step for c in m.checkpoints])
        ]
    run(store, row, checkpoints, devices.resolve(settings(), workers), _bars(as_json))
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
    _result(as_json, "\n".join(lines), evaluations=losses)


@cli.command()
def classify(suite: str, corpus: str, as_json: Json = False) -> None:
    """Classify every prediction's curve over model size and over training step."""
    from backend.models import CurveSet
    from backend.stages.classify import classify as run

    store = _store()
    with store.session() as session:
        row, home = corpus_named(session, corpus), suite_named(session, suite)
    ids = run(store, row, home, _bars(as_json))
    with store.session() as session:
        sets = [session.get_one(CurveSet, i) for i in ids]
        shares = [
            {
                "axis": s.axis,
                "model": s.model.name if s.model else None,
                "classes": (s.summary or {})["classes"],
            }
            for s in sets
        ]
    lines = [_shares_line(s) for s in shares]
    _result(as_json, "\n".join(lines), curve_sets=shares)


def _shares_line(curve_set: dict[str, Any]) -> str:
    of_model = f" of {curve_set['model']}" if curve_set["model"] else ""
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

    store = _store()
    with store.session() as session:
        row = corpus_named(session, corpus)
        checkpoint = checkpoint_at(model_named(suite_named(session, suite), model), step)
        evaluation = finished_evaluation(session, row, checkpoint)
    spec = DiscoverySpec(
        selection=SelectionSpec(threshold, induction_filter, stride, limit),
        n_clusters=_numbers(n_clusters, "--n-clusters"),
        n_init=n_init,
        seed=seed,
    )
    found = run(store, evaluation, spec, devices.resolve(settings()), _bars(as_json))
    _print_discovery(store, found, as_json)


def _print_discovery(store: Store, discovery_id: int, as_json: bool) -> None:
    from backend.models import Discovery

    with store.session() as session:
        row = session.get_one(Discovery, discovery_id)
        clusterings = {c.n_clusters: c.id for c in row.clusterings}
        size = row.similarity.size
        fit = (row.rank_frequency or {}).get("fit") or {}
    slope = f"{fit['slope']:.3f}" if fit else "none: too few ranks"
    _result(
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

    store = _store()
    spec = stage.DemoSpec(n_documents=documents)
    if chunk_predictions:  # smaller units of work, so that tests can end a run between them
        spec = replace(spec, chunk_predictions=chunk_predictions)
    if n_clusters:
        spec = replace(spec, n_clusters=_numbers(n_clusters, "--n-clusters"))
    if stage.is_built(store, spec):
        _result(as_json, "the demo is built; nothing to compute", built=True)
        return
    from backend.stages import devices

    compute = devices.resolve(settings(), workers)
    found = stage.build_demo(store, spec, compute, _bars(as_json))
    _print_discovery(store, found, as_json)


@cli.command()
def check(as_json: Json = False) -> None:
    """Verify every stored array's checksum and print the content hash of all results."""
    from backend.content import content_hash

    digest, counts = content_hash(_store())
    text = "\n".join([*(f"{name}: {n}" for name, n in counts.items()), f"content hash {digest}"])
    _result(as_json, text, content_hash=digest, arrays=counts)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="QUANTA_HOST; 127.0.0.1 if left out.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="QUANTA_PORT.")] = None,
) -> None:
    """Serve the dashboard and the API."""
    import uvicorn

    config = settings()
    changes = {"host": host, "port": port}
    config = config.model_copy(update={k: v for k, v in changes.items() if v is not None})
    _serve_check(config)
    open_store(config)
    typer.echo(f"Quanta Explorer on http://{config.host}:{config.port}", err=True)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=config.host,
        port=config.port,
        log_level="warning",
        server_header=False,
    )


def _serve_check(config: Settings) -> None:
    from backend.binding import check_bind

    check_bind(config)


def _guarded(run: Callable[[], None]) -> int:
    try:
        run()
    except QuantaError as error:
        typer.echo(f"error: {error.problem}.\n{error.remedy}.", err=True)
        return 2
    except (IntegrityError, OperationalError) as error:
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
