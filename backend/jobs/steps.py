"""What jobs do, unit by unit: runs in a spawned child of a worker, never in the server.

Every unit first looks whether its result is stored, so that repeating one is harmless.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.db import Store, open_store
from backend.errors import NotReadyError, QuantaError, StoreFullError
from backend.faults import fault_of
from backend.jobs import leases
from backend.jobs.progress import JobProgress
from backend.lookup import (
    checkpoint_at,
    corpus_named,
    finished_evaluation,
    model_named,
    suite_named,
    tokenizer_of,
)
from backend.measures import MEASURES
from backend.models import Corpus, Discovery
from backend.settings import Settings
from backend.stages.classify import classify
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.devices import Compute, resolve
from backend.stages.discover import DiscoverySpec, check_spec, discover
from backend.stages.evaluate import evaluate
from backend.stages.progress import Progress, Silent, log_work
from backend.stages.select import SelectionSpec, select_predictions
from backend.stages.similarity import compute_similarity
from backend.stages.targets import measure_target
from backend.weights import is_here

CHUNKS_A_SLICE = 8
Unit = list[Any]
Slice = list[Any]
Made = dict[str, Any]
Parameters = dict[str, Any]


def plan(store: Store, kind: str, parameters: Parameters) -> tuple[list[list[Slice]], int]:
    """Return (phases of a job, each after the other; number of all units).

    A phase is a list of slices, which different workers may do at the same time: small JSON lists.
    A slice is one unit, or ["chunks", model, step, first, last] for as many as `units` says.
    """
    if kind == "evaluate":
        with store.session() as session:
            n_chunks = corpus_named(session, parameters["corpus"]).n_chunks
        firsts = range(0, n_chunks, CHUNKS_A_SLICE)
        slices: list[Slice] = [
            ["chunks", model, step, first, min(first + CHUNKS_A_SLICE, n_chunks)]
            for model, step in parameters["checkpoints"]
            for first in firsts
        ]
        return [slices], n_chunks * len(parameters["checkpoints"])
    if kind == "classify":
        return [[["classify"]]], 1
    if kind == "discover":
        return [[["select"]], [["similarity"]], [["cluster"]]], 3
    places = [["checkpoint", model, step] for model, step in parameters["checkpoints"]]
    if kind == "measure":
        return [places], len(places)
    return [[["tokenise"]], places, [["classify"]]], len(places) + 2


def units(slice_: Slice) -> list[Unit]:
    """Return the units of a slice."""
    if slice_[0] != "chunks":
        return [slice_]
    _, model, step, first, last = slice_
    return [["chunk", model, step, chunk] for chunk in range(first, last)]


def result(kind: str, parameters: Parameters) -> dict[str, Any]:
    """Return what a finished job made, and the page that shows it."""
    if kind in {"evaluate", "classify"}:
        names = {name: parameters[name] for name in ("suite", "corpus")}
        page = "/scaling?" + urlencode(names) if kind == "classify" else "/documents"
        return {**names, "page": page}
    if kind == "discover":
        return {"suite": parameters["suite"], "corpus": parameters["corpus"]}
    if kind == "paste":
        name = pasted_name(parameters)
        return {"corpus": name, "document": 0, "page": f"/documents/{name}/0"}
    corpus, document, token = (parameters[n] for n in ("corpus", "document", "token"))
    page = f"/documents/{corpus}/{document}?measure=p_token&target=id:{token}"
    return {"corpus": corpus, "document": document, "token": token, "page": page}


def pasted_name(parameters: Parameters) -> str:
    """Return the name of the corpus of a pasted text: equal texts share one."""
    content = [parameters["text"], parameters["corpus"]]
    return f"paste-{sha256(json.dumps(content).encode()).hexdigest()[:12]}"


@lru_cache(maxsize=1)
def _opened(settings: str, worker_id: str) -> tuple[Store, Compute]:
    # One a process: what it writes to quanta.log says which units were computed.
    config = Settings.model_validate_json(settings)
    log_work(config.data_dir)
    store = open_store(config)
    store.fence = leases.fence(worker_id)
    return store, resolve(config, 1)


Run = Callable[[Store, Compute, Parameters, Unit, Progress], Made | None]


def perform(
    settings: str, worker_id: str, job_id: str, kind: str, parameters: Parameters, unit: Unit
) -> tuple[Made | None, list[str] | None]:
    """Compute and commit one unit of a job.

    Args:
        settings: the worker's, as JSON.
        worker_id: whose lease is to last until what is computed is committed.
        job_id: of the job, for its progress.
        kind: of the job.
        parameters: of the job, as checked.
        unit: one of its plan.

    Returns:
        What it made, if that is part of the job's result; and None, or problem and remedy if it
        cannot be done: the same unit would fail again. Words, since an error of ours does not
        survive the way to another process.
    """
    store, compute = _opened(settings, worker_id)
    run: dict[str, Run] = {
        "evaluate": _evaluate,
        "classify": _classify,
        "discover": _discover,
        "measure": _measure,
        "paste": _paste,
    }
    try:
        return run[kind](store, compute, parameters, unit, JobProgress(store, job_id)), None
    except QuantaError as error:
        return None, [error.problem, error.remedy]
    except (OperationalError, OSError) as error:
        # A full disk stays full: the job says so. A lock or a lost connection passes: the engine
        # tries the same unit again.
        if isinstance(fault := fault_of(error), StoreFullError):
            return None, [fault.problem, fault.remedy]
        raise


def _evaluate(
    store: Store, compute: Compute, parameters: Parameters, unit: Unit, progress: Progress
) -> None:
    _, model, step, chunk = unit
    with store.session() as session:
        corpus = corpus_named(session, parameters["corpus"])
        checkpoint_id = _checkpoint_id(store, session, parameters, ["checkpoint", model, step])
    measures = parameters["measures"]
    evaluate(store, corpus, [checkpoint_id], compute, progress, measures, chunks=(chunk,))


def _classify(
    store: Store, compute: Compute, parameters: Parameters, unit: Unit, progress: Progress
) -> None:
    with store.session() as session:
        corpus = corpus_named(session, parameters["corpus"])
        suite = suite_named(session, parameters["suite"])
    classify(store, corpus, suite, progress)


def _discover(
    store: Store, compute: Compute, parameters: Parameters, unit: Unit, progress: Progress
) -> Made | None:
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
    if unit[0] == "cluster":
        return _made(store, discover(store, evaluation, spec, compute, progress))
    selection = select_predictions(store, evaluation.id, chosen)
    check_spec(spec, selection.size)
    if unit[0] == "similarity":
        compute_similarity(store, selection, compute, progress)
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


def _checkpoint_id(store: Store, session: Session, parameters: Parameters, unit: Unit) -> int:
    _, model, step = unit
    checkpoint = checkpoint_at(model_named(suite_named(session, parameters["suite"]), model), step)
    # A request must not make this machine fetch, unless whoever runs it allowed that.
    if not store.settings.jobs_fetch and not is_here(store, checkpoint, Silent()):
        raise NotReadyError(
            f"the weights of {model} at step {step} are on a hub, and jobs may not fetch",
            "Start the worker with QUANTA_JOBS_FETCH=true",
        )
    return checkpoint.id


def _measure(
    store: Store, compute: Compute, parameters: Parameters, unit: Unit, progress: Progress
) -> None:
    with store.session() as session:
        corpus_id = corpus_named(session, parameters["corpus"]).id
        checkpoint_id = _checkpoint_id(store, session, parameters, unit)
    place = (corpus_id, parameters["document"], parameters["token"], checkpoint_id)
    measure_target(store, *place, compute.device)


def _paste(
    store: Store, compute: Compute, parameters: Parameters, unit: Unit, progress: Progress
) -> None:
    if unit[0] == "tokenise":
        _tokenise(store, parameters)
        return
    with store.session() as session:
        corpus = corpus_named(session, pasted_name(parameters))
        suite = suite_named(session, parameters["suite"])
        if unit[0] == "checkpoint":
            checkpoint_id = _checkpoint_id(store, session, parameters, unit)
    if unit[0] == "checkpoint":
        evaluate(store, corpus, [checkpoint_id], compute, Silent(), MEASURES)
        return
    try:
        classify(store, corpus, suite, Silent())
    except NotReadyError:
        return  # a suite of one or two sizes has no curves to classify


def _tokenise(store: Store, parameters: Parameters) -> Corpus:
    with store.session() as session:
        like = corpus_named(session, parameters["corpus"])
        tokenizer = bytes(tokenizer_of(like).json)
        max_tokens, prefix = like.max_tokens, tuple(like.prefix)
    with TemporaryDirectory(prefix="quanta-paste-") as folder:
        document = {"id": "pasted text", "source": "pasted", "text": parameters["text"]}
        # Escaped to ASCII: the text's own line separators must not end the JSON line.
        (Path(folder) / "paste.jsonl").write_text(json.dumps(document), encoding="ascii")
        (Path(folder) / "tokenizer.json").write_bytes(tokenizer)
        spec = CorpusSpec(
            name=pasted_name(parameters),
            files=(Path(folder) / "paste.jsonl",),
            tokenizer=Path(folder) / "tokenizer.json",
            max_tokens=max_tokens,
            prefix=prefix,
        )
        return add_corpus(store, spec, Silent())
