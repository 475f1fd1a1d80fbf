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

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.db import Store, open_store
from backend.errors import NotReadyError, QuantaError, StoreFullError
from backend.faults import fault_of
from backend.lookup import checkpoint_at, corpus_named, model_named, suite_named, tokenizer_of
from backend.measures import MEASURES
from backend.models import Corpus
from backend.settings import Settings
from backend.stages.classify import classify
from backend.stages.corpora import CorpusSpec, add_corpus
from backend.stages.devices import Compute, resolve
from backend.stages.evaluate import evaluate
from backend.stages.progress import Silent, log_work
from backend.stages.targets import measure_target
from backend.weights import is_here

Unit = list[Any]
Parameters = dict[str, Any]


def plan(kind: str, parameters: Parameters) -> list[Unit]:
    """Return the units of a job: small JSON lists, in order."""
    places = [["checkpoint", model, step] for model, step in parameters["checkpoints"]]
    return places if kind == "measure" else [["tokenise"], *places, ["classify"]]


def result(kind: str, parameters: Parameters) -> dict[str, Any]:
    """Return what a finished job made, and the page that shows it."""
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
def _opened(settings: str) -> tuple[Store, Compute]:
    # One a process: what it writes to quanta.log says which units were computed.
    config = Settings.model_validate_json(settings)
    log_work(config.data_dir)
    return open_store(config), resolve(config, 1)


def perform(settings: str, kind: str, parameters: Parameters, unit: Unit) -> list[str] | None:
    """Compute and commit one unit of a job.

    Args:
        settings: the worker's, as JSON.
        kind: of the job.
        parameters: of the job, as checked.
        unit: one of its plan.

    Returns:
        None, or problem and remedy if it cannot be done: the same unit would fail again. Words,
        since an error of ours does not survive the way to another process.
    """
    store, compute = _opened(settings)
    run: dict[str, Callable[[Store, Compute, Parameters, Unit], None]] = {
        "measure": _measure,
        "paste": _paste,
    }
    try:
        run[kind](store, compute, parameters, unit)
    except QuantaError as error:
        return [error.problem, error.remedy]
    except (OperationalError, OSError) as error:
        # A full disk stays full: the job says so. A lock or a lost connection passes: the engine
        # tries the same unit again.
        if isinstance(fault := fault_of(error), StoreFullError):
            return [fault.problem, fault.remedy]
        raise
    return None


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


def _measure(store: Store, compute: Compute, parameters: Parameters, unit: Unit) -> None:
    with store.session() as session:
        corpus_id = corpus_named(session, parameters["corpus"]).id
        checkpoint_id = _checkpoint_id(store, session, parameters, unit)
    place = (corpus_id, parameters["document"], parameters["token"], checkpoint_id)
    measure_target(store, *place, compute.device)


def _paste(store: Store, compute: Compute, parameters: Parameters, unit: Unit) -> None:
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
